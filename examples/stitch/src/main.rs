//! Puts raw tiles together into a PNG on standard output.
//!
//! ```text
//! stitch WIDTHxHEIGHT COLUMNSxROWS TILE... > image.png
//! ```
//!
//! Tiles are given in the order of the array: row by row, from the left.

use std::error::Error;
use std::io::Write;
use std::{env, fs, io};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(size), Some(grid)) = (arguments.next(), arguments.next()) else {
        return Err("usage: stitch WIDTHxHEIGHT COLUMNSxROWS TILE... > image.png".into());
    };
    let ((width, height), (columns, rows)) = (pair(&size)?, pair(&grid)?);
    let tiles = arguments.map(fs::read).collect::<Result<Vec<_>, _>>()?;
    if tiles.len() != columns * rows {
        return Err(format!("{} tiles for a grid of {columns}x{rows}", tiles.len()).into());
    }
    let mut image = vec![0; width * height * 3];
    for (index, tile) in tiles.iter().enumerate() {
        let across = part(width, index % columns, columns);
        let down = part(height, index / columns, rows);
        let line = across.len() * 3;
        if tile.len() != line * down.len() {
            return Err(format!(
                "tile {index} has {} bytes, not {}",
                tile.len(),
                line * down.len()
            )
            .into());
        }
        for (row, pixels) in down.zip(tile.chunks_exact(line)) {
            let start = (row * width + across.start) * 3;
            image[start..start + line].copy_from_slice(pixels);
        }
    }
    io::stdout().write_all(&png(&image, width, height))?;
    Ok(())
}

fn pair(text: &str) -> Result<(usize, usize), Box<dyn Error>> {
    let parsed = text.split_once('x').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match parsed {
        Some((a, b)) if (1..=1 << 16).contains(&a) && (1..=1 << 16).contains(&b) => Ok((a, b)),
        _ => Err(format!("`{text}` is not a size such as 4x3").into()),
    }
}

fn part(length: usize, index: usize, count: usize) -> std::ops::Range<usize> {
    length * index / count..length * (index + 1) / count
}

/// An image of eight bits for each color, not compressed.
fn png(pixels: &[u8], width: usize, height: usize) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend((width as u32).to_be_bytes());
    header.extend((height as u32).to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    // Every line begins with the number of its filter: none.
    let lines: Vec<u8> =
        pixels.chunks_exact(width * 3).flat_map(|line| [&[0], line].concat()).collect();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &header);
    chunk(&mut file, b"IDAT", &zlib(&lines));
    chunk(&mut file, b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend(kind);
    file.extend(data);
    let sum = crc(&file[start..]);
    file.extend(sum.to_be_bytes());
}

/// Stored blocks in a zlib stream.
fn zlib(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let blocks = data.chunks(0xffff);
    let last = blocks.len().saturating_sub(1);
    for (index, block) in blocks.enumerate() {
        let length = block.len() as u16;
        stream.push(u8::from(index == last));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in data {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    stream.extend(((b << 16) | a).to_be_bytes());
    stream
}

fn crc(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_ones() {
        assert_eq!(crc(b"IEND"), 0xae42_6082);
        assert_eq!(zlib(b"Wikipedia")[16..], [0x11, 0xe6, 0x03, 0x98]);
    }

    #[test]
    fn sizes_are_read_with_care() {
        assert_eq!(pair("4x3").unwrap(), (4, 3));
        for text in ["", "4", "0x3", "4x-3", "99999999x1"] {
            assert!(pair(text).is_err(), "{text}");
        }
    }
}
