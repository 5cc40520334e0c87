//! Kinds as users type them.

use model::Kind;
use std::str::FromStr;

/// A kind by its name, plural or short name, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindName(pub Kind);

/// What each kind may be called besides its name and its name with an `s`.
fn other_names(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Namespace => &["ns"],
        Kind::Workload => &["wl"],
        Kind::Service => &["svc"],
        Kind::EndpointSlice => &["eps"],
        Kind::NetworkPolicy => &["netpol", "networkpolicies"],
        Kind::LoadBalancer => &["lb"],
    }
}

impl FromStr for KindName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        for kind in Kind::ALL {
            let name = kind.name().to_ascii_lowercase();
            if lower == name
                || lower.strip_suffix('s') == Some(&name)
                || other_names(kind).contains(&lower.as_str())
            {
                return Ok(KindName(kind));
            }
        }
        let advice = match lower.as_str() {
            "ep" | "endpoint" | "endpoints" => "; endpoints are shown by `skep endpoint list`",
            "identity" | "identities" | "id" => "; identities are shown by `skep identity list`",
            _ => "",
        };
        Err(format!("no such kind; there are {}{advice}", known()))
    }
}

/// `workload (wl), service (svc), ...`
fn known() -> String {
    let names: Vec<String> = Kind::ALL
        .into_iter()
        .map(|kind| format!("{} ({})", kind.name().to_ascii_lowercase(), other_names(kind)[0]))
        .collect();
    names.join(", ")
}

/// Whether objects of the kind are in a namespace.
pub fn is_namespaced(kind: Kind) -> bool {
    kind != Kind::Namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings() {
        let check = |text: &str, kind| assert_eq!(text.parse(), Ok(KindName(kind)), "{text}");
        check("NetworkPolicy", Kind::NetworkPolicy);
        check("networkpolicies", Kind::NetworkPolicy);
        check("NETPOL", Kind::NetworkPolicy);
        check("services", Kind::Service);
        check("svc", Kind::Service);
        check("wl", Kind::Workload);
        check("ns", Kind::Namespace);
        check("endpointslices", Kind::EndpointSlice);
        insta::assert_snapshot!("ep".parse::<KindName>().unwrap_err(), @"no such kind; there are namespace (ns), workload (wl), service (svc), endpointslice (eps), networkpolicy (netpol), loadbalancer (lb); endpoints are shown by `skep endpoint list`");
    }
}
