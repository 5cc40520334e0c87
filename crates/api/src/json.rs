//! The JSON form of messages: protobuf's canonical mapping with three deviations that make it
//! easier to use from jq and SQL: names are as in the `.proto` files (snake_case), 64-bit numbers
//! are numbers, and fields that are not set or have their default are left out.

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;
use std::sync::LazyLock;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(crate::DESCRIPTORS).expect("the committed descriptors are valid")
});

/// A message with a time or span that protobuf doesn't allow, such as the year 10000.
#[derive(Debug, thiserror::Error)]
#[error("a message has no JSON form: {0}")]
pub struct JsonError(#[from] serde_json::Error);

/// Any message of [`crate::v1`].
pub fn to_value<M: prost::Message + prost::Name>(message: &M) -> Result<Value, JsonError> {
    let descriptor = POOL
        .get_message_by_name(&M::full_name())
        .expect("descriptors and code are generated together");
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).expect("descriptors and code are generated together");
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(true);
    Ok(dynamic.serialize_with_options(serde_json::value::Serializer, &options)?)
}

#[cfg(test)]
mod tests {
    use crate::v1;

    #[test]
    fn names_numbers_and_times() {
        let flow = v1::Flow {
            time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 }),
            kind: v1::FlowKind::Drop.into(),
            verdict: v1::Verdict::Dropped.into(),
            drop_reason: v1::DropReason::PolicyDefault.into(),
            sequence: 1 << 60,
            is_reply: Some(false),
            duration: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
            l4: Some(v1::Layer4 {
                protocol: Some(v1::layer4::Protocol::Udp(v1::Udp {
                    source_port: 1,
                    destination_port: 53,
                })),
            }),
            ..Default::default()
        };
        insta::assert_snapshot!(super::to_value(&flow).unwrap(), @r#"{"time":"2023-11-14T22:13:20.005Z","sequence":1152921504606846976,"kind":"DROP","verdict":"DROPPED","drop_reason":"POLICY_DEFAULT","l4":{"udp":{"source_port":1,"destination_port":53}},"is_reply":false,"duration":"1.500s"}"#);
    }

    #[test]
    fn impossible_times_are_an_error() {
        let time = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: -1 });
        assert!(super::to_value(&v1::Flow { time, ..Default::default() }).is_err());
    }
}
