//! The items of a step that runs once for each: lines, elements of a JSON array, or what
//! each task of another step gave.

use bytes::Bytes;
use serde::de::IgnoredAny;
use wrun_core::workflow::{Prepared, Producer};
use wrun_protocol::TenantName;
use wrun_protocol::items::{ItemsEncoder, ItemsError};
use wrun_protocol::limits::{MAX_INLINE_INPUT, MAX_ITEM_INLINE};
use wrun_protocol::resources;
use wrun_protocol::task::Content;
use wrun_protocol::workflow::{ForEach, StepReason};

use super::{Hitch, content, sole_output};
use crate::shared::Shared;

/// Largest output that is taken apart into items: it is held in memory.
const MAX_SOURCE: u64 = 64 << 20;

/// How many items there are, and the items file.
pub(super) async fn of(
    shared: &Shared,
    tenant: &TenantName,
    for_each: ForEach,
    source: &Producer,
) -> Result<(u32, Content), Hitch> {
    let problem = |text: String| Hitch::failed(format!("the output of `{}`: {text}", source.name));
    let mut items = Items { shared, tenant, encoder: ItemsEncoder::new() };
    match for_each {
        ForEach::Tasks(_) => {
            for index in 0..source.tasks {
                let output = content::of_task(shared, tenant, source, index).await?;
                let missing = || problem(format!("its task {index} gave none"));
                items.add(output.ok_or_else(missing)?).await?;
            }
        }
        ForEach::Lines(_) => {
            let bytes = whole(shared, tenant, source).await?;
            for line in lines(&bytes) {
                items.add(Content::Inline(bytes.slice_ref(line))).await?;
            }
        }
        ForEach::Json(_) => {
            let bytes = whole(shared, tenant, source).await?;
            for element in elements(&bytes).map_err(problem)? {
                items.add(Content::Inline(element)).await?;
            }
        }
    }
    let count = items.encoder.count();
    if count == 0 {
        let nothing = Prepared::Nothing(StepReason::NoItems(source.name.clone()));
        return Err(Hitch::Final(nothing));
    }
    let file = items.encoder.finish().map_err(|error| problem(error.to_string()))?;
    if file.len() <= MAX_INLINE_INPUT {
        return Ok((count, Content::Inline(file)));
    }
    let (digest, size) = content::as_blob(shared, tenant, Content::Inline(file)).await?;
    Ok((count, Content::Blob { digest, size }))
}

/// Collects items; large ones become blobs.
struct Items<'a> {
    shared: &'a Shared,
    tenant: &'a TenantName,
    encoder: ItemsEncoder,
}

impl Items<'_> {
    async fn add(&mut self, item: Content) -> Result<(), Hitch> {
        let item = match item {
            Content::Inline(bytes) if bytes.len() > MAX_ITEM_INLINE => {
                let bytes = Content::Inline(bytes);
                let (digest, size) = content::as_blob(self.shared, self.tenant, bytes).await?;
                Content::Blob { digest, size }
            }
            other => other,
        };
        self.encoder.push(&item).map_err(|error: ItemsError| Hitch::failed(error.to_string()))
    }
}

async fn whole(shared: &Shared, tenant: &TenantName, source: &Producer) -> Result<Bytes, Hitch> {
    let output = sole_output(shared, tenant, source).await?;
    if output.size() > MAX_SOURCE {
        let text = format!(
            "the output of `{}` has {}; at most {} are taken apart into items: let it write file names, or split it",
            source.name,
            resources::Bytes(output.size()),
            resources::Bytes(MAX_SOURCE)
        );
        return Err(Hitch::failed(text));
    }
    content::read(shared, tenant, &output, MAX_SOURCE).await
}

/// Lines that are not empty, without their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
}

/// The elements of a JSON array: text as it is, anything else as it is written there, so
/// that no number loses a digit.
fn elements(bytes: &Bytes) -> Result<Vec<Bytes>, String> {
    let not_json = |error: serde_json::Error| format!("it is not JSON: {error}");
    // The whole is checked first: what follows looks only for where elements end.
    let all: Vec<IgnoredAny> = match serde_json::from_slice(bytes) {
        Ok(all) => all,
        Err(error) if error.is_data() => return Err("it is not a JSON array".to_owned()),
        Err(error) => return Err(not_json(error)),
    };
    let mut found = Vec::with_capacity(all.len());
    let start = bytes.iter().position(|byte| *byte == b'[').map_or(bytes.len(), |at| at + 1);
    let mut rest = bytes.slice(start..);
    for _ in all {
        let mut elements = serde_json::Deserializer::from_slice(&rest).into_iter::<IgnoredAny>();
        elements.next().transpose().map_err(not_json)?;
        let end = elements.byte_offset();
        let element = rest.slice_ref(rest.get(..end).unwrap_or_default().trim_ascii());
        found.push(match element.first() {
            Some(b'"') => {
                Bytes::from(serde_json::from_slice::<String>(&element).map_err(not_json)?)
            }
            _ => element,
        });
        let after = rest.get(end..).unwrap_or_default();
        let comma = after.iter().position(|byte| *byte == b',').map_or(after.len(), |at| at + 1);
        rest = rest.slice(end + comma..);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &'static str) -> Result<Vec<String>, String> {
        let found = elements(&Bytes::from_static(text.as_bytes()))?;
        Ok(found.into_iter().map(|item| String::from_utf8(item.to_vec()).unwrap()).collect())
    }

    #[test]
    fn lines_come_without_their_ends_and_empty_ones_not_at_all() {
        let found: Vec<&[u8]> = lines(b"a\r\n\nb c\n\xff").collect();
        assert_eq!(found, [b"a".as_slice(), b"b c", b"\xff"]);
        assert_eq!(lines(b"\n\n").count(), 0);
    }

    #[test]
    fn elements_of_an_array_are_items() {
        assert_eq!(json(r#"["a,\n\u00e9", "]"]"#).unwrap(), ["a,\né", "]"]);
        let numbers = json(" [ 1 ,\n 1.50, 123456789012345678901234567890,true , null]").unwrap();
        assert_eq!(numbers, ["1", "1.50", "123456789012345678901234567890", "true", "null"]);
        let nested = json(r#"[{"a": [1, "x,]"]} ,[ 1,2 ] , ""]"#).unwrap();
        assert_eq!(nested, [r#"{"a": [1, "x,]"]}"#, "[ 1,2 ]", ""]);
        assert_eq!(json("[]").unwrap(), [] as [&str; 0]);
    }

    #[test]
    fn what_is_no_array_is_refused() {
        assert_eq!(json(r#"{"a": 1}"#).unwrap_err(), "it is not a JSON array");
        assert!(json("[1,").unwrap_err().starts_with("it is not JSON"));
        assert!(json("").unwrap_err().starts_with("it is not JSON"));
        assert!(json("[1] 2").unwrap_err().starts_with("it is not JSON"));
    }
}
