//! Folders of PNG and JPEG files: each folder below is a class.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::{DataError, Dataset, files};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";
/// The longest file, in bytes.
const MAX_BYTES: u64 = 1 << 28;
/// The largest image, in pixels: a small file may claim to be a huge image.
const MAX_PIXELS: u64 = 1 << 26;

/// The pixels of an image.
struct Image {
    /// Channels, height and width; one channel or three.
    size: [usize; 3],
    /// The values of a pixel: the channels, and transparency behind them where there is any.
    samples: usize,
    /// `[height, width, samples]`.
    pixels: Vec<u8>,
}

/// Reads every file in the folders in `folder`: each of these folders is a class, in the order of their names, which are
/// `class_names`. Images are `[channel, row, column]`, one channel if grey, else red, green and blue, scaled to `[0, 1]`.
/// Palettes are resolved, transparency is left out, and of 16 bits the upper 8 are taken; colour profiles, gamma and the
/// orientation of EXIF are not applied, as by most readers of training data. Files and folders whose name begins
/// with a dot are passed over. Images must have one size and number of channels: they are not resized.
///
/// ```no_run
/// let data = gradus_data::load_image_folder("flowers")?;
/// println!("{:?}: {} images of {:?}", data.class_names, data.len(), data.image);
/// # Ok::<(), gradus_data::DataError>(())
/// ```
///
/// # Errors
/// [`DataError::Io`], [`DataError::ImageFormat`] for a file that is neither PNG nor JPEG, [`DataError::Image`] for a damaged
/// one, [`DataError::TooLarge`] for more than 256 MiB or 64 million pixels, [`DataError::ImageSize`] naming the first file
/// of another size than the first image, [`DataError::Empty`] for no images.
pub fn load_image_folder(folder: impl AsRef<Path>) -> Result<Dataset, DataError> {
    let folder = folder.as_ref();
    let (mut features, mut labels, mut class_names) = (Vec::new(), Vec::new(), Vec::new());
    let mut size = None;
    for class in visible(files::entries(folder)?.1) {
        for file in visible(files::entries(&class)?.0) {
            let image = read(&file)?;
            let expected = *size.get_or_insert(image.size);
            if image.size != expected {
                return Err(DataError::ImageSize { what: file.display().to_string(), expected, found: image.size });
            }
            for channel in 0..image.size[0] {
                features.extend(image.pixels.chunks_exact(image.samples).map(|pixel| f32::from(pixel[channel]) / 255.0));
            }
            labels.push(class_names.len());
        }
        class_names.push(class.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
    }
    let width = size.map_or(0, |size: [usize; 3]| size.iter().product());
    let mut data = Dataset::new(&format!("images of {}", folder.display()), features, labels, width, class_names.len())?;
    (data.image, data.class_names) = (size, class_names);
    Ok(data)
}

/// Whether the first file of every folder, of which there is one, is an image.
pub(crate) fn are_classes(folders: &[PathBuf]) -> Result<bool, DataError> {
    let mut folders = visible(folders.to_vec()).peekable();
    if folders.peek().is_none() {
        return Ok(false);
    }
    for folder in folders {
        let first = visible(files::entries(&folder)?.0).next();
        let head = first.map_or(Ok(Vec::new()), |file| files::head(&file, PNG.len() as u64))?;
        if !head.starts_with(PNG) && !head.starts_with(JPEG) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn visible(paths: Vec<PathBuf>) -> impl Iterator<Item = PathBuf> {
    paths.into_iter().filter(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')))
}

fn read(file: &Path) -> Result<Image, DataError> {
    let too_large = |limit| DataError::TooLarge { file: file.into(), limit };
    if std::fs::metadata(file).map_err(DataError::io(file))?.len() > MAX_BYTES {
        return Err(too_large(MAX_BYTES));
    }
    let bytes = std::fs::read(file).map_err(DataError::io(file))?;
    let image = match &bytes[..] {
        png if png.starts_with(PNG) => decode_png(png),
        jpeg if jpeg.starts_with(JPEG) => decode_jpeg(jpeg),
        _ => return Err(DataError::ImageFormat { file: file.into() }),
    };
    image.map_err(|reason| match reason {
        Some(reason) => DataError::Image { file: file.into(), reason },
        None => DataError::TooManyPixels { file: file.into(), limit: MAX_PIXELS },
    })
}

/// What is wrong with an image; `None` if it has too many pixels.
type Reason = Option<String>;

fn text(error: impl ToString) -> Reason {
    Some(error.to_string())
}

fn check_pixels(height: usize, width: usize) -> Result<(), Reason> {
    if height as u64 * width as u64 > MAX_PIXELS { Err(None) } else { Ok(()) }
}

fn decode_png(bytes: &[u8]) -> Result<Image, Reason> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let header = decoder.read_header_info().map_err(text)?;
    let (height, width) = (header.height as usize, header.width as usize);
    check_pixels(height, width)?;
    let mut reader = decoder.read_info().map_err(text)?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or(None)?];
    let samples = reader.next_frame(&mut pixels).map_err(text)?.color_type.samples();
    let channels = if samples < 3 { 1 } else { 3 };
    Ok(Image { size: [channels, height, width], samples, pixels })
}

fn decode_jpeg(bytes: &[u8]) -> Result<Image, Reason> {
    // Without the strict mode, what is missing of a truncated file would be grey.
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(text)?;
    let (width, height) = decoder.dimensions().ok_or(Some("no size".into()))?;
    check_pixels(height, width)?;
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let (channels, colours) = if grey { (1, ColorSpace::Luma) } else { (3, ColorSpace::RGB) };
    decoder.set_options(options.jpeg_set_out_colorspace(colours));
    let pixels = decoder.decode().map_err(text)?;
    if pixels.len() != channels * height * width {
        return Err(Some(format!("expected {} values, found {}", channels * height * width, pixels.len())));
    }
    Ok(Image { size: [channels, height, width], samples: channels, pixels })
}
