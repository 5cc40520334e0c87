//! One connection to the kernel's rtnetlink in one namespace.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::sync::Mutex;

use crate::{Error, NetNamespace, Result};

/// The kernel answers within microseconds; this bounds what a malformed answer could cost.
const PATIENCE: Duration = Duration::from_secs(10);

/// A netlink connection into a namespace. Cloning shares it; it closes with its last clone.
///
/// It keeps its namespace alive: hold one for the node, and one for a workload only while working
/// on it.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
    namespace: NetNamespace,
    /// The kernel writes one list at a time to a socket, and refuses a second (EBUSY;
    /// net/netlink/af_netlink.c, __netlink_dump_start).
    lists: Arc<Mutex<()>>,
}

impl Netlink {
    /// Connects into `namespace`. Has to be called inside a tokio runtime, which then serves the
    /// connection.
    pub fn connect(namespace: &NetNamespace) -> Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let opened = namespace.run(|| {
            let _inside = runtime.enter();
            rtnetlink::new_connection_with_strict_check()
        })?;
        let (connection, handle, _) =
            opened.map_err(|source| Error::system("open a netlink socket", source))?;
        runtime.spawn(connection);
        Ok(Self { handle, namespace: namespace.clone(), lists: Arc::default() })
    }

    /// The namespace this connection works in.
    pub fn namespace(&self) -> &NetNamespace {
        &self.namespace
    }

    /// Asks for something to be done. `what` completes "could not …".
    pub(crate) async fn perform(
        &self,
        what: impl FnOnce() -> String,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<()> {
        self.exchange(what, message, NLM_F_REQUEST | NLM_F_ACK | flags).await.map(|_| ())
    }

    /// Asks for one object.
    pub(crate) async fn ask(
        &self,
        what: impl FnOnce() -> String,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.exchange(what, message, NLM_F_REQUEST).await.map(|answer| answer.objects)
    }

    /// Asks for all objects the message's filter lets through.
    ///
    /// A list that something changed while the kernel was writing it may lack objects that were
    /// there all along; the kernel says so, and it is asked again.
    pub(crate) async fn dump(
        &self,
        what: impl Fn() -> String,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        const ATTEMPTS: usize = 10;
        let _only = self.lists.lock().await;
        for _ in 0..ATTEMPTS {
            let answer = self.exchange(&what, message.clone(), NLM_F_REQUEST | NLM_F_DUMP).await?;
            if !answer.torn {
                return Ok(answer.objects);
            }
        }
        Err(Error::Netlink { what: what(), source: io::ErrorKind::Interrupted.into() })
    }

    async fn exchange(
        &self,
        what: impl FnOnce() -> String,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Answer> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        let answer = async {
            let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
            let mut parts = self.handle.clone().request(request).map_err(|_| closed())?;
            let mut answer = Answer { objects: Vec::new(), torn: false };
            while let Some(part) = parts.next().await {
                answer.torn |= part.header.flags & NLM_F_DUMP_INTR != 0;
                match part.payload {
                    NetlinkPayload::InnerMessage(object) => answer.objects.push(object),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::Overrun(_) => {
                        return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
                    }
                    _ => {}
                }
            }
            Ok(answer)
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(Error::Netlink { what: what(), source }),
            Err(_) => Err(Error::NetlinkSilent { what: what(), seconds: PATIENCE.as_secs() }),
        }
    }
}

struct Answer {
    objects: Vec<RouteNetlinkMessage>,
    /// Something changed while the kernel was writing it.
    torn: bool,
}

/// Sets `lo` of the calling thread's namespace up, without a runtime. `lo` is always interface 1.
pub(crate) fn loopback_up() -> Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = 1;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    let mut request =
        NetlinkMessage::new(NetlinkHeader::default(), RouteNetlinkMessage::SetLink(link).into());
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.finalize();

    let send = || -> io::Result<()> {
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        let (answer, _) = socket.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
            .map_err(|error| io::Error::other(error.to_string()))?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            _ => Ok(()),
        }
    };
    send().map_err(|source| Error::Netlink { what: "set `lo` up".into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lists_may_be_asked_for_at_once() {
        let netlink = Netlink::connect(&NetNamespace::current().unwrap()).unwrap();
        let ask = async || {
            netlink.links().await?;
            netlink.addresses(None).await?;
            netlink.routes(1).await?;
            netlink.neighbours(1).await
        };
        for answer in futures::future::join_all((0..64).map(|_| ask())).await {
            answer.unwrap();
        }
    }
}
