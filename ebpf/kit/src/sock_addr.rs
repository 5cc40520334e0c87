//! A socket call with an address, as the socket of decisions.

use crate::{Kernel, maps};
use abi::process::SocketOwner;
use abi::service::{SocketTranslation, SocketTranslationKey};
use abi::{Address, Port};
use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock_addr};
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_sk_storage_get};
use core::marker::PhantomData;
use core::ptr;
use dataplane::env::Env;
use dataplane::socket::{Asked, Peer, Socket};

/// Which fields of the context hold the address.
pub trait Family {
    /// # Safety
    /// `context` is that of the running program, on a hook of this family.
    unsafe fn address(context: *const bpf_sock_addr) -> Address;
    /// # Safety
    /// As for [`address`](Self::address).
    unsafe fn set_address(context: *mut bpf_sock_addr, address: &Address);
}

#[derive(Debug)]
pub struct V4;

impl Family for V4 {
    #[inline(always)]
    unsafe fn address(context: *const bpf_sock_addr) -> Address {
        // SAFETY: the caller's promise.
        Address::from_v4_word(unsafe { ptr::read_volatile(&raw const (*context).user_ip4) })
    }

    #[inline(always)]
    unsafe fn set_address(context: *mut bpf_sock_addr, address: &Address) {
        // SAFETY: the caller's promise.
        unsafe { ptr::write_volatile(&raw mut (*context).user_ip4, address.v4_word()) };
    }
}

#[derive(Debug)]
pub struct V6;

impl Family for V6 {
    #[inline(always)]
    unsafe fn address(context: *const bpf_sock_addr) -> Address {
        // SAFETY: the caller's promise.
        let word = |at: usize| unsafe { ptr::read_volatile(&raw const (*context).user_ip6[at]) };
        Address([word(0), word(1), word(2), word(3)])
    }

    #[inline(always)]
    unsafe fn set_address(context: *mut bpf_sock_addr, address: &Address) {
        let set = |at: usize, word: u32| {
            // SAFETY: the caller's promise.
            unsafe { ptr::write_volatile(&raw mut (*context).user_ip6[at], word) }
        };
        set(0, address.0[0]);
        set(1, address.0[1]);
        set(2, address.0[2]);
        set(3, address.0[3]);
    }
}

#[derive(Debug)]
pub struct Call<F> {
    context: *mut bpf_sock_addr,
    family: PhantomData<F>,
}

impl<F: Family> Call<F> {
    /// # Safety
    /// `context` is that of the running program, on a hook of this family.
    #[inline(always)]
    pub unsafe fn new(context: *mut bpf_sock_addr) -> Self {
        Call { context, family: PhantomData }
    }

    /// Whether another program has translated this connect(2) already: the peer is the backend
    /// that the socket remembers.
    #[inline(always)]
    pub fn is_translated(&self) -> bool {
        let Some(asked) = self.asked() else { return false };
        let Some(backend) = Kernel.backend(asked.backend) else { return false };
        let peer = self.peer();
        backend.address == peer.address && backend.port == peer.port
    }

    /// What the socket remembers, made if `initial` says with what.
    #[inline(always)]
    fn owner(&self, initial: Option<&SocketOwner>) -> *mut SocketOwner {
        let (initial, flags) = match initial {
            Some(initial) => (ptr::from_ref(initial), BPF_SK_STORAGE_GET_F_CREATE.into()),
            None => (ptr::null(), 0),
        };
        // SAFETY: a valid context with a socket, and a map of socket storage with values of that
        // type.
        unsafe {
            let socket = ptr::read_volatile(&raw const (*self.context).__bindgen_anon_1.sk);
            if socket.is_null() {
                return ptr::null_mut();
            }
            let map = maps::SOCKET_OWNERS.as_ptr();
            bpf_sk_storage_get(map, socket.cast(), initial.cast_mut().cast(), flags).cast()
        }
    }
}

impl<F: Family> Socket for Call<F> {
    #[inline(always)]
    fn protocol(&self) -> u8 {
        // SAFETY: a valid context.
        unsafe { ptr::read_volatile(&raw const (*self.context).protocol) as u8 }
    }

    #[inline(always)]
    fn cookie(&self) -> u64 {
        // SAFETY: a valid context.
        unsafe { bpf_get_socket_cookie(self.context.cast()) }
    }

    #[inline(always)]
    fn netns_cookie(&self) -> u64 {
        // SAFETY: a valid context.
        unsafe { bpf_get_netns_cookie(self.context.cast()) }
    }

    #[inline(always)]
    fn peer(&self) -> Peer {
        // SAFETY: a valid context of this family.
        let address = unsafe { F::address(self.context) };
        // SAFETY: a valid context.
        let port = unsafe { ptr::read_volatile(&raw const (*self.context).user_port) };
        Peer { address, port: Port::from_wire(port as u16) }
    }

    #[inline(always)]
    fn set_peer(&mut self, peer: Peer) {
        // SAFETY: a valid context of this family.
        unsafe { F::set_address(self.context, &peer.address) };
        let port = u32::from(peer.port.to_wire());
        // SAFETY: a valid context.
        unsafe { ptr::write_volatile(&raw mut (*self.context).user_port, port) };
    }

    #[inline(always)]
    fn asked(&self) -> Option<Asked> {
        let owner = self.owner(None);
        if owner.is_null() {
            return None;
        }
        // SAFETY: not null, so it is the socket's value.
        let SocketOwner { vip, vip_port, service, backend, .. } = unsafe { *owner };
        if vip.is_none() {
            return None;
        }
        Some(Asked { vip: Peer { address: vip, port: vip_port }, service, backend })
    }

    #[inline(always)]
    fn remember(&mut self, asked: Option<Asked>) {
        let owner = match asked {
            Some(Asked { vip, service, backend }) => SocketOwner {
                vip: vip.address,
                vip_port: vip.port,
                service,
                backend,
                ..SocketOwner::NONE
            },
            None => SocketOwner::NONE,
        };
        // A socket that was opened before the programs were attached has nothing to remember with.
        let existing = self.owner(asked.is_some().then_some(&owner));
        if existing.is_null() {
            return;
        }
        // SAFETY: not null, so it is the socket's value.
        unsafe {
            (*existing).vip = owner.vip;
            (*existing).vip_port = owner.vip_port;
            (*existing).service = owner.service;
            (*existing).backend = owner.backend;
        }
    }

    #[inline(always)]
    fn translation(&self, key: &SocketTranslationKey) -> Option<SocketTranslation> {
        maps::SOCKET_TRANSLATIONS.copy(key)
    }

    #[inline(always)]
    fn remember_translation(&mut self, key: &SocketTranslationKey, value: &SocketTranslation) {
        if self.translation(key).as_ref() != Some(value) {
            maps::SOCKET_TRANSLATIONS.insert(key, value);
        }
    }
}
