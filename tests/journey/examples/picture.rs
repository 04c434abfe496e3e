//! A PNG read back, and what the tiles example should have drawn.

/// Eight bits for each of three colours.
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// Reads the kind of PNG that `stitch` writes: not interlaced, not filtered, not
    /// compressed.
    pub fn of_png(file: &[u8]) -> Self {
        let mut rest = file.strip_prefix(b"\x89PNG\r\n\x1a\n").expect("it begins as a PNG does");
        let (mut header, mut data) = (Vec::new(), Vec::new());
        loop {
            let length = number(&rest[..4]);
            let (kind, content) = (&rest[4..8], &rest[8..8 + length]);
            match kind {
                b"IHDR" => header.extend(content),
                b"IDAT" => data.extend(content),
                b"IEND" => break,
                other => panic!("a chunk {other:?}"),
            }
            rest = &rest[length + 12..];
        }
        assert_eq!(header[8..], [8, 2, 0, 0, 0], "colours of eight bits");
        let (width, height) = (number(&header[..4]), number(&header[4..8]));
        let lines = stored(&data);
        assert_eq!(lines.len(), height * (width * 3 + 1));
        let mut pixels = Vec::new();
        for line in lines.chunks(width * 3 + 1) {
            assert_eq!(line[0], 0, "no filter");
            pixels.extend(&line[1..]);
        }
        Self { width, height, pixels }
    }

    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        self.pixels[at..at + 3].try_into().unwrap()
    }
}

fn number(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes.try_into().unwrap()) as usize
}

/// The content of a zlib stream of stored blocks.
fn stored(stream: &[u8]) -> Vec<u8> {
    let (mut rest, mut data) = (&stream[2..], Vec::new());
    loop {
        let (is_last, kind) = (rest[0] & 1 == 1, rest[0] >> 1 & 3);
        assert_eq!(kind, 0, "a stored block");
        let length = usize::from(u16::from_le_bytes([rest[1], rest[2]]));
        data.extend(&rest[5..5 + length]);
        rest = &rest[5 + length..];
        if is_last {
            assert_eq!(rest.len(), 4, "the checksum is what remains");
            return data;
        }
    }
}

/// The colour of a pixel of the example's view in 320x240 with 300 steps: from the
/// formulas, with complex numbers as pairs.
pub fn expected(x: usize, y: usize) -> [u8; 3] {
    let scale = 0.0125 / 320.0;
    let c = (-0.7435 + (x as f64 - 160.0) * scale, 0.1314 - (y as f64 - 120.0) * scale);
    let mut z = (0.0_f64, 0.0_f64);
    for step in 0..300 {
        let size = z.0 * z.0 + z.1 * z.1;
        if size > 256.0 {
            let smooth = f64::from(step) + 1.0 - (size.ln() / 2.0).log2();
            let place = (smooth / 300.0).sqrt() * 12.0;
            return [0.4, 1.0, 1.6]
                .map(|shift| (127.5 - 127.5 * (place * 1.7 + shift).cos()) as u8);
        }
        z = (z.0 * z.0 - z.1 * z.1 + c.0, 2.0 * z.0 * z.1 + c.1);
    }
    [0, 0, 0]
}
