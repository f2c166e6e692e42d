//! Pictures of every kind, good and bad.

use std::io::Cursor;

use turbojpeg::{Colorspace, Compressor, Image, PixelFormat};

use super::*;

fn pixels(frame: Frame<'_>) -> Result<(u32, u32, Vec<u8>), String> {
    let mut decoder = Decoder::default();
    let Decoded { pixels, .. } = decoder.decode(&frame).map_err(|error| error.to_string())?;
    Ok((pixels.width, pixels.height, pixels.data.to_vec()))
}

#[test]
fn pictures_that_are_not_what_they_say_are_refused() {
    let cases: [(Format, u32, u32, usize, &str); 7] = [
        (Format::Rgb, 2, 2, 11, "must have 12"),
        (Format::Bgr, 2, 2, 13, "must have 12"),
        (Format::Rgb, 0, 2, 0, "0x2 pixels"),
        (Format::Rgb, 70_000, 1, 210_000, "at most 8192"),
        (Format::Rgb, 8192, 8192, 0, "16 million"),
        (Format::Nv12, 3, 2, 9, "both must be even"),
        (Format::Nv12, 4, 4, 25, "must have 24"),
    ];
    for (format, width, height, length, word) in cases {
        let data = vec![0; length];
        let error = pixels(Frame { format, width, height, data: &data }).expect_err(word);
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn nv12_becomes_the_colours_it_stands_for() {
    // Black, white and pure red in limited range.
    for (yuv, expected) in
        [([16, 128, 128], [0, 0, 0]), ([235, 128, 128], [255; 3]), ([81, 90, 240], [255, 0, 0])]
    {
        let data = [yuv[0], yuv[0], yuv[0], yuv[0], yuv[1], yuv[2]];
        let (_, _, rgb) =
            pixels(Frame { format: Format::Nv12, width: 2, height: 2, data: &data }).expect("right");
        for pixel in rgb.chunks(3) {
            let close = pixel
                .iter()
                .zip(expected)
                .all(|(have, want): (&u8, i32)| (i32::from(*have) - want).abs() <= 2);
            assert!(close, "{yuv:?}: {pixel:?}");
        }
    }
}

#[test]
fn a_jpeg_that_lies_about_its_size_is_refused_before_it_is_decoded() {
    // SOI, a frame header of 65,500 x 65,500 pixels, and nothing behind it.
    let bomb = [
        0xff, 0xd8, 0xff, 0xc0, 0, 17, 8, 0xff, 0xdc, 0xff, 0xdc, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1,
        0xff, 0xd9,
    ];
    for (name, data) in
        [("bomb", &bomb[..]), ("nothing", &[]), ("text", b"not a jpeg"), ("start", &bomb[..2])]
    {
        let mut decoder = Decoder::default();
        let frame = Frame { format: Format::Jpeg, width: 0, height: 0, data };
        assert!(decoder.decode(&frame).is_err(), "{name}");
        assert!(decoder.room.is_empty(), "{name} took memory");
    }
}

/// A picture with four corners of other colours, 48x32.
fn corners() -> Image<Vec<u8>> {
    let (width, height) = (48, 32);
    let mut pixels = Vec::new();
    for place in 0..width * height {
        let (right, below) = (place % width >= width / 2, place / width >= height / 2);
        pixels.extend(CORNERS[usize::from(below) * 2 + usize::from(right)]);
    }
    Image { pixels, width, pitch: width * 3, height, format: PixelFormat::RGB }
}

const CORNERS: [[u8; 3]; 4] = [[200, 30, 30], [30, 200, 30], [30, 30, 200], [220, 220, 220]];

/// A JPEG of it.
fn jpeg(set: impl FnOnce(&mut Compressor)) -> Vec<u8> {
    let mut compressor = Compressor::new().expect("compressor");
    compressor.set_quality(95).expect("sound");
    set(&mut compressor);
    compressor.compress_to_vec(corners().as_deref()).expect("compressed")
}

fn file(format: Format, data: &[u8]) -> Result<(u32, u32, Vec<u8>), String> {
    pixels(Frame { format, width: 0, height: 0, data })
}

/// Which corner's colour the middle of a quarter has.
fn quarter(picture: &(u32, u32, Vec<u8>), right: u32, below: u32) -> Option<usize> {
    let (width, height, data) = picture;
    let (column, row) = ((1 + 2 * right) * width / 4, (1 + 2 * below) * height / 4);
    let pixel = &data[(row * width + column) as usize * 3..][..3];
    CORNERS.iter().position(|colour| colour.iter().zip(pixel).all(|(own, seen)| own.abs_diff(*seen) < 12))
}

/// Where a marker is.
fn marker(data: &[u8], code: u8) -> usize {
    data.windows(2).rposition(|two| two == [0xff, code]).expect("it has one")
}

#[test]
fn jpegs_that_viewers_show_are_decoded_whatever_libjpeg_says_of_them() {
    let whole = jpeg(|_| {});
    let expected = file(Format::Jpeg, &whole).expect("sound");
    let end = whole.len() - 2;
    let app = [0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F', 0, 7, 7, 0, 0, 1, 0, 1, 0, 0];
    let cases = [
        ("bytes before its end", [&whole[..end], &[0; 5], &whole[end..]].concat()),
        ("no end", whole[..end].to_vec()),
        ("bytes between its segments", [&whole[..2], &[0; 5], &whole[2..]].concat()),
        ("a JFIF of a revision that there is not", [&whole[..2], &app, &whole[20..]].concat()),
        ("bytes after its end", [&whole[..], &[7; 100]].concat()),
    ];
    for (name, data) in cases {
        assert_eq!(file(Format::Jpeg, &data), Ok(expected.clone()), "{name}");
    }
    // What came is looked at.
    let scan = marker(&whole, 0xda);
    let half = file(Format::Jpeg, &whole[..scan + (end - scan) * 6 / 10]).expect("a half");
    assert_eq!((quarter(&half, 0, 0), quarter(&half, 1, 0)), (Some(0), Some(1)));
}

#[test]
fn a_jpeg_that_breaks_off_shows_nothing_of_the_one_before() {
    let progressive = jpeg(|compressor| compressor.set_progressive(true).expect("sound"));
    assert_eq!(quarter(&file(Format::Jpeg, &progressive).expect("sound"), 1, 1), Some(3));
    // A scan again and again: it warns of each, and then there are too many.
    let (scan, end) = (marker(&progressive, 0xda), progressive.len() - 2);
    let again = progressive[scan..end].repeat(200);
    let bomb = [&progressive[..end], &again, &progressive[end..]].concat();
    let whole = jpeg(|_| {});
    let frame = |data| Frame { format: Format::Jpeg, width: 0, height: 0, data };
    let mut decoder = Decoder::default();
    for _ in 0..2 {
        decoder.decode(&frame(&whole)).expect("sound");
        let error = decoder.decode(&frame(&bomb)).expect_err("too many scans").to_string();
        assert!(error.contains("scans"), "{error}");
    }
}

#[test]
fn a_jpeg_without_tables_has_the_usual_ones_and_not_those_of_the_one_before() {
    let plain = jpeg(|_| {});
    let expected = file(Format::Jpeg, &plain).expect("sound");
    // As webcams send them.
    let mut bare = plain;
    while let Some(table) = bare.windows(2).position(|two| two == [0xff, 0xc4]) {
        let length = usize::from(u16::from_be_bytes([bare[table + 2], bare[table + 3]]));
        bare.drain(table..table + 2 + length);
    }
    let own = jpeg(|compressor| compressor.set_optimize(true).expect("sound"));
    let mut decoder = Decoder::default();
    let frame = |data| Frame { format: Format::Jpeg, width: 0, height: 0, data };
    decoder.decode(&frame(&own)).expect("sound");
    assert_eq!(decoder.decode(&frame(&bare)).expect("sound").pixels.data, expected.2);
}

#[test]
fn a_beginning_that_breaks_off_after_a_warning_does_not_pass_for_the_one_before() {
    let whole = jpeg(|_| {});
    let frame = |data| Frame { format: Format::Jpeg, width: 0, height: 0, data };
    // Bytes that are warned of, a large size, and a table that there cannot be.
    let size = [0xff, 0xc0, 0, 11, 8, 8, 0, 8, 0, 1, 1, 0x11, 0];
    let broken = [&[0xff, 0xd8, 0, 0][..], &size, &[0xff, 0xc4, 0, 19, 0x77], &[0; 40], &whole[2..]].concat();
    let mut decoder = Decoder::default();
    for _ in 0..2 {
        decoder.decode(&frame(&whole)).expect("sound");
        let error = decoder.decode(&frame(&broken)).expect_err("broken").to_string();
        assert!(error.contains("DHT"), "{error}");
        // Tables alone are no picture.
        let error = decoder.decode(&frame(&[0xff, 0xd8, 0xff, 0xd9])).expect_err("no picture").to_string();
        assert!(error.contains("damaged JPEG"), "{error}");
    }
}

#[test]
fn a_lossless_jpeg_is_decoded_whole_or_not_at_all() {
    let small = jpeg(|compressor| compressor.set_lossless(true).expect("sound"));
    assert_eq!(file(Format::Jpeg, &small), Ok((48, 32, corners().pixels)));
    let (width, height) = (5000, 4000);
    let pixels = vec![70; width * height * 3];
    let image = Image { pixels, width, pitch: width * 3, height, format: PixelFormat::RGB };
    let mut compressor = Compressor::new().expect("compressor");
    compressor.set_lossless(true).expect("sound");
    let large = compressor.compress_to_vec(image.as_deref()).expect("compressed");
    let error = file(Format::Jpeg, &large).expect_err("too large");
    assert!(error.contains("lossless"), "{error}");
}

#[test]
fn four_inks_become_the_colours_they_stand_for() {
    let rgb = corners();
    let pixels = rgb.pixels.chunks(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
    let inks = Image { pixels, pitch: rgb.width * 4, format: PixelFormat::CMYK, ..rgb };
    for colours in [Colorspace::CMYK, Colorspace::YCCK] {
        let mut compressor = Compressor::new().expect("compressor");
        compressor.set_colorspace(colours).expect("sound");
        let data = compressor.compress_to_vec(inks.as_deref()).expect("compressed");
        let picture = file(Format::Jpeg, &data).expect("decoded");
        for corner in 0..4 {
            assert_eq!(quarter(&picture, corner % 2, corner / 2), Some(corner as usize), "{colours:?}");
        }
    }
}

/// A JPEG of the corners that is to be turned.
fn turned(orientation: u8) -> Vec<u8> {
    let plain = jpeg(|_| {});
    let mut exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    [&plain[..2], &exif, &plain[2..]].concat()
}

#[test]
fn photographs_are_seen_the_right_way_up() {
    // What is then above on the left and on the right, of the corners as they lie in the file.
    let above = [(0, 1), (1, 0), (3, 2), (2, 3), (0, 2), (2, 0), (3, 1), (1, 3)];
    for (orientation, (left, right)) in (1..).zip(above) {
        let data = turned(orientation);
        let picture = file(Format::Jpeg, &data).expect("sound");
        let size = if orientation < 5 { (48, 32) } else { (32, 48) };
        assert_eq!((picture.0, picture.1), size, "{orientation}");
        let seen = (quarter(&picture, 0, 0), quarter(&picture, 1, 0));
        assert_eq!(seen, (Some(left), Some(right)), "{orientation}");
        // Whoever announces the size may have read it either way.
        for (width, height, fits) in [(48, 32, true), (size.0, size.1, true), (40, 32, false)] {
            let told = pixels(Frame { format: Format::Jpeg, width, height, data: &data });
            assert_eq!(told.is_ok(), fits, "{orientation}: {width}x{height}");
        }
    }
    for nonsense in [0, 9, 255] {
        assert_eq!(quarter(&file(Format::Jpeg, &turned(nonsense)).expect("sound"), 0, 0), Some(0));
    }
    let cut = turned(6);
    assert!(file(Format::Jpeg, &cut[..20]).is_err());
}

#[test]
fn a_large_jpeg_is_decoded_at_a_part_of_its_size_and_stands_for_all_of_it() {
    for (width, height, part) in [(4096, 4096, 1), (4100, 4100, 2), (9000, 1000, 2), (11_000, 9000, 4)] {
        let image = Image {
            pixels: vec![90; width * height],
            width,
            pitch: width,
            height,
            format: PixelFormat::GRAY,
        };
        let data = turbojpeg::compress(image.as_deref(), 50, turbojpeg::Subsamp::Gray).expect("compressed");
        let mut decoder = Decoder::default();
        let frame = Frame { format: Format::Jpeg, width: 0, height: 0, data: &data };
        let Decoded { pixels, size } = decoder.decode(&frame).expect("decoded");
        let side = |side: usize| side as u32;
        assert_eq!(size, (side(width), side(height)));
        assert_eq!((pixels.width, pixels.height), (size.0.div_ceil(part), size.1.div_ceil(part)));
        assert!(pixels.data.iter().all(|value| value.abs_diff(90) < 3));
    }
    // The largest that comes in passes, and one that is larger.
    for (width, fits) in [(8192, true), (8200, false)] {
        let height = 4096;
        let image = Image {
            pixels: vec![90; width * height * 3],
            width,
            pitch: width * 3,
            height,
            format: PixelFormat::RGB,
        };
        let mut compressor = Compressor::new().expect("compressor");
        compressor.set_subsamp(turbojpeg::Subsamp::None).expect("sound");
        compressor.set_progressive(true).expect("sound");
        let data = compressor.compress_to_vec(image.as_deref()).expect("compressed");
        let told = file(Format::Jpeg, &data).map(|(width, height, _)| (width, height));
        match told {
            Ok(size) => assert!(fits && size == (4096, 2048), "{size:?}"),
            Err(error) => assert!(!fits && error.contains("save it as a baseline JPEG"), "{error}"),
        }
    }
    // A beginning that says 12000x12000, and nothing behind it.
    let large = [
        &[0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0x2e, 0xe0, 0x2e, 0xe0, 1, 1, 0x11, 0][..],
        &[0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0xff, 0xd9],
    ]
    .concat();
    let error = file(Format::Jpeg, &large).expect_err("too large");
    assert!(error.contains("at most 128 million pixels"), "{error}");
}

#[test]
fn png_and_webp_are_seen_as_they_are_and_no_larger_than_allowed() {
    let rgb = corners();
    let image = image::RgbImage::from_raw(48, 32, rgb.pixels).expect("fits");
    let image = image::DynamicImage::ImageRgb8(image);
    let kinds = [image.clone(), image.to_rgba8().into(), image.to_rgb16().into(), image.to_rgba16().into()];
    for (format, kind) in [(Format::Png, image::ImageFormat::Png), (Format::Webp, image::ImageFormat::WebP)] {
        for image in &kinds {
            let mut data = Cursor::new(Vec::new());
            let image = if format == Format::Webp { &kinds[0] } else { image };
            image.write_to(&mut data, kind).expect("written");
            let data = data.into_inner();
            assert_eq!(Format::of(&data), Some(format));
            let picture = file(format, &data).expect("sound");
            for corner in 0..4 {
                assert_eq!(quarter(&picture, corner % 2, corner / 2), Some(corner as usize), "{kind:?}");
            }
            for end in [0, 11, 20, data.len() / 2] {
                let error = file(format, &data[..end]).expect_err("half");
                assert!(error.contains("damaged"), "{error}");
            }
        }
        let mut data = Cursor::new(Vec::new());
        let large = image::DynamicImage::new_luma8(5000, 5000);
        large.to_rgb8().write_to(&mut data, kind).expect("written");
        let error = file(format, data.get_ref()).expect_err("too large");
        assert!(error.contains("16 million in all"), "{error}");
    }
    assert_eq!(Format::of(&jpeg(|_| {})), Some(Format::Jpeg));
    for other in [&b"GIF89a"[..], b"RIFF....AVI ", b"", b"\xff"] {
        assert_eq!(Format::of(other), None);
    }
}

#[test]
fn damaged_files_end_in_a_picture_or_an_error() {
    let files = [
        jpeg(|_| {}),
        jpeg(|compressor| compressor.set_progressive(true).expect("sound")),
        jpeg(|compressor| compressor.set_arithmetic(true).expect("sound")),
        turned(6),
    ];
    let mut noise = 1_u32;
    let mut random = |below: usize| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 8) as usize % below
    };
    let (mut decoder, mut shown) = (Decoder::default(), 0);
    for round in 0..4000 {
        let mut data = files[round % files.len()].clone();
        for _ in 0..=random(4) {
            let place = random(data.len());
            data[place] = random(256) as u8;
        }
        data.truncate(data.len() - random(3) * random(data.len() / 2));
        let frame = Frame { format: Format::Jpeg, width: 0, height: 0, data: &data };
        if let Ok(Decoded { pixels, .. }) = decoder.decode(&frame) {
            assert_eq!(pixels.data.len(), bytes(pixels.width, pixels.height));
            shown += 1;
        }
    }
    assert!((400..3900).contains(&shown), "{shown}");
}
