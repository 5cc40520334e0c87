//! Why a packet was dropped.

/// Every reason, with its number in events and metrics. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// A policy restricts the direction and no rule allows the packet.
    PolicyDefault = 1,
    /// A deny rule says so.
    PolicyDenied = 2,
    /// The source address is not one of the endpoint that sent it.
    SpoofedSource = 3,
    /// A header is cut short or contradicts itself.
    Malformed = 4,
    /// Neither IPv4, IPv6 nor ARP.
    UnsupportedProtocol = 5,
    /// More or longer IPv6 extension headers than are looked through.
    TooManyExtensions = 6,
    /// A later fragment whose first was not seen.
    FragmentUnknown = 7,
    /// The service has no backend.
    NoBackend = 8,
    /// The connection table takes no more entries.
    ConntrackFull = 9,
    /// Other connections have the tuple that translation gives, and those with other source ports
    /// that were tried.
    TranslationClash = 10,
    /// The packet could not be rewritten.
    RewriteFailed = 11,
    /// The hop limit ran out.
    TimeExceeded = 12,
    /// An ICMP error that speaks of no known connection.
    UnrelatedError = 13,
    /// The endpoint that the packet is for is not known (any more).
    NoEndpoint = 14,
    /// The service takes no flows of this source (`loadBalancerSourceRanges`).
    SourceNotAdmitted = 15,
    /// All ports that masqueraded flows to this backend could have are taken.
    NoSourcePort = 16,
}

impl DropReason {
    pub const ALL: [DropReason; 16] = [
        DropReason::PolicyDefault,
        DropReason::PolicyDenied,
        DropReason::SpoofedSource,
        DropReason::Malformed,
        DropReason::UnsupportedProtocol,
        DropReason::TooManyExtensions,
        DropReason::FragmentUnknown,
        DropReason::NoBackend,
        DropReason::ConntrackFull,
        DropReason::TranslationClash,
        DropReason::RewriteFailed,
        DropReason::TimeExceeded,
        DropReason::UnrelatedError,
        DropReason::NoEndpoint,
        DropReason::SourceNotAdmitted,
        DropReason::NoSourcePort,
    ];

    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }

    /// Name in metrics, JSON and filters.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::PolicyDefault => "policy-default",
            DropReason::PolicyDenied => "policy-denied",
            DropReason::SpoofedSource => "spoofed-source",
            DropReason::Malformed => "malformed",
            DropReason::UnsupportedProtocol => "unsupported-protocol",
            DropReason::TooManyExtensions => "too-many-extensions",
            DropReason::FragmentUnknown => "fragment-unknown",
            DropReason::NoBackend => "no-backend",
            DropReason::ConntrackFull => "conntrack-full",
            DropReason::TranslationClash => "translation-clash",
            DropReason::RewriteFailed => "rewrite-failed",
            DropReason::TimeExceeded => "time-exceeded",
            DropReason::UnrelatedError => "unrelated-error",
            DropReason::NoEndpoint => "no-endpoint",
            DropReason::SourceNotAdmitted => "source-not-admitted",
            DropReason::NoSourcePort => "no-source-port",
        }
    }
}
