use proptest::prelude::*;

use super::*;

/// Reads a whole file as a careful reader does.
fn read(file: &[u8]) -> Result<Vec<Content>, ItemsError> {
    let size = file.len() as u64;
    let header = Header::parse(file, size)?;
    let mut check = IndexCheck::new(header);
    let mut items = Vec::new();
    for at in 0..header.count {
        let start = header.entry(at) as usize;
        let (index, entry) = check.next(&file[start..start + ENTRY])?;
        let from = header.tail().saturating_add(entry.offset);
        let to = from.saturating_add(entry.length.into());
        let part = file.get(from as usize..to as usize).unwrap_or_default();
        items.push(entry.content(index, Bytes::copy_from_slice(part))?);
    }
    check.finish(size)?;
    Ok(items)
}

fn encode(items: &[Content]) -> Bytes {
    let mut encoder = ItemsEncoder::new();
    items.iter().for_each(|item| encoder.push(item).unwrap());
    encoder.finish().unwrap()
}

fn item() -> impl Strategy<Value = Content> {
    prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..40)
            .prop_map(|bytes| Content::Inline(bytes.into())),
        1 => (any::<[u8; 32]>(), 0..=MAX_BLOB)
            .prop_map(|(digest, size)| Content::Blob { digest: Digest(digest), size }),
    ]
}

proptest! {
    #[test]
    fn what_was_put_in_comes_out(items in proptest::collection::vec(item(), 1..50)) {
        prop_assert_eq!(read(&encode(&items)), Ok(items));
    }

    #[test]
    fn a_file_that_is_cut_is_refused(
        items in proptest::collection::vec(item(), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let file = encode(&items);
        prop_assert!(read(&file[..cut.index(file.len())]).is_err());
    }

    /// Any bytes are an error or items; nothing overflows and nothing is out of bounds.
    #[test]
    fn a_file_with_a_flipped_byte_is_read_or_refused(
        items in proptest::collection::vec(item(), 1..20),
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let mut file = encode(&items).to_vec();
        let at = at.index(file.len());
        file[at] ^= flip;
        if let Ok(read) = read(&file) {
            prop_assert_eq!(read.len(), items.len());
        }
    }
}

#[test]
fn the_file_is_laid_out_as_its_description_says() {
    let blob = Content::Blob { digest: Digest([7; 32]), size: 258 };
    let file = encode(&[Content::Inline(Bytes::from_static(b"ab")), blob]);
    let mut wanted = b"wrunitem\x01\0\0\0\x02\0\0\0".to_vec();
    wanted.extend(b"\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
    wanted.extend(b"\x02\0\0\0\0\0\0\0\x28\0\0\0\x01\0\0\0");
    wanted.extend(b"ab");
    wanted.extend([7; 32]);
    wanted.extend(b"\x02\x01\0\0\0\0\0\0");
    assert_eq!(&*file, wanted);
}

#[test]
fn what_is_no_items_file_is_refused_by_its_kind() {
    let file = encode(&[Content::Inline(Bytes::from_static(b"ab"))]).to_vec();
    let with = |at: usize, byte: u8| {
        let mut file = file.clone();
        file[at] = byte;
        read(&file).unwrap_err()
    };
    assert_eq!(read(b""), Err(ItemsError::Unknown));
    assert_eq!(with(0, b'W'), ItemsError::Unknown);
    assert_eq!(with(8, 2), ItemsError::Version { found: 2 });
    assert_eq!(with(12, 0), ItemsError::Empty);
    assert_eq!(with(15, 255), ItemsError::TooMany);
    assert_eq!(with(12, 9), ItemsError::Size { wanted: 160, found: 34 });
    assert_eq!(with(24, 1), ItemsError::Size { wanted: 33, found: 34 });
    for at in [16, 28, 31] {
        assert!(matches!(with(at, 9), ItemsError::Entry { index: 0, .. }), "byte {at}");
    }
    assert!(matches!(with(26, 255), ItemsError::TooLong { index: 0, .. }));
}

#[test]
fn an_encoder_keeps_to_the_bounds() {
    let mut encoder = ItemsEncoder::new();
    let long = vec![0; MAX_ITEM_INLINE + 1];
    let size = long.len() as u64;
    assert_eq!(encoder.push_inline(&long), Err(ItemsError::TooLong { index: 0, size }));
    assert_eq!(encoder.clone().finish(), Err(ItemsError::Empty));
    let most = &long[1..];
    while encoder.push_inline(most).is_ok() {}
    assert_eq!(encoder.push_inline(most), Err(ItemsError::TooLarge));
    let file = encoder.finish().unwrap();
    assert!(file.len() as u64 <= MAX_ITEMS_FILE);
    assert_eq!(Header::parse(&file, MAX_ITEMS_FILE + 1), Err(ItemsError::TooLarge));
}
