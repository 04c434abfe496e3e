//! The whole picture.

use super::*;

fn series() -> Series {
    let mut series = Series::new();
    for hour in 0..48_u64 {
        let cpu = 1000.0 * (8.0 + 7.0 * (hour as f64 / 5.0).sin()).floor();
        let waiting = (hour % 9) as f64;
        series.set(hour * 3_600_000, Levels { cpu, waiting, gpu: cpu / 4.0, memory: 0.0 });
    }
    series.advance(48 * 3_600_000);
    series
}

fn picture(format: Format) -> Vec<u8> {
    let capacity = Capacity { cpu: 16_000.0, memory: 0.0, gpu: 4000.0 };
    let series = series();
    let figure =
        Figure { title: "night.swf", subtitle: "two days & a <night>", series: &series, capacity };
    let mut bytes = Vec::new();
    write(&figure, format, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_svg_is_as_it_was_reviewed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/simulate/plot/golden.svg");
    let text = picture(Format::Svg);
    if std::env::var_os("WRUN_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read(&path).unwrap_or_default();
    assert!(text == expected, "look at the picture and run the tests with WRUN_BLESS=1");
}

#[test]
fn the_svg_names_what_is_there_and_nothing_else() {
    let text = String::from_utf8(picture(Format::Svg)).unwrap();
    for said in ["night.swf", "two days &amp; a &lt;night&gt;", "CPU, mean", "GPU, mean", "24 h"] {
        assert!(text.contains(said), "{said}");
    }
    assert!(!text.contains("memory"), "none is counted");
}

#[test]
fn the_png_is_a_picture_of_the_same_shape() {
    let bytes = picture(Format::Png);
    let mut reader = png_reader(&bytes);
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (1440, 870));
    assert_eq!(&pixels[..3], &[255, 255, 255]);
    assert!(pixels.chunks(3).any(|pixel| pixel == CPU), "the line of the CPU is drawn");
}

fn png_reader(bytes: &[u8]) -> ::png::Reader<std::io::Cursor<&[u8]>> {
    ::png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap()
}

#[test]
fn the_format_is_told_by_the_files_name() {
    let of = |name: &str| Format::of(Path::new(name));
    assert_eq!((of("a.svg"), of("a.PNG")), (Some(Format::Svg), Some(Format::Png)));
    assert_eq!((of("a.pdf"), of("png")), (None, None));
}

#[test]
fn an_empty_schedule_has_a_picture_too() {
    let series = Series::new();
    let figure = Figure { title: "", subtitle: "", series: &series, capacity: Capacity::default() };
    for format in [Format::Svg, Format::Png] {
        write(&figure, format, &mut Vec::new()).unwrap();
    }
}
