/// A fixed change of a square image that keeps its pixels: tasks that are equally hard and need different features.
///
/// ```
/// use gradus_data::ImageTransform;
///
/// let image = [1.0, 2.0,
///              3.0, 4.0];
/// assert_eq!(ImageTransform::Rotate90.apply(&image, 2), [2.0, 4.0, 1.0, 3.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageTransform {
    /// The image itself.
    Identity,
    /// A quarter turn, counter-clockwise.
    Rotate90,
    /// A half turn.
    Rotate180,
    /// Three quarter turns, counter-clockwise.
    Rotate270,
    /// `1 - x` of each pixel.
    Invert,
    /// Left and right exchanged.
    FlipHorizontal,
    /// Rows shifted down by half the side (rounded down), cyclically.
    ShiftHalf,
    /// Rows and columns exchanged.
    Transpose,
}

impl ImageTransform {
    /// All of them, the identity first.
    pub const ALL: [Self; 8] = [
        Self::Identity,
        Self::Rotate90,
        Self::Invert,
        Self::FlipHorizontal,
        Self::Rotate180,
        Self::ShiftHalf,
        Self::Rotate270,
        Self::Transpose,
    ];

    /// A short name for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Rotate90 => "rot90",
            Self::Rotate180 => "rot180",
            Self::Rotate270 => "rot270",
            Self::Invert => "invert",
            Self::FlipHorizontal => "flip",
            Self::ShiftHalf => "shift",
            Self::Transpose => "transpose",
        }
    }

    /// The changed image of `side × side` pixels in `[0, 1]`, row-major. Panics for another number of pixels.
    #[track_caller]
    pub fn apply(self, image: &[f32], side: usize) -> Vec<f32> {
        assert!(image.len() == side * side, "an image of side {side} has {} pixels, not {}", side * side, image.len());
        let last = side.wrapping_sub(1);
        let pixel = |at: usize| {
            let (i, j) = (at / side, at % side);
            let (i, j) = match self {
                Self::Identity | Self::Invert => (i, j),
                Self::Rotate90 => (j, last - i),
                Self::Rotate180 => (last - i, last - j),
                Self::Rotate270 => (last - j, i),
                Self::FlipHorizontal => (i, last - j),
                Self::ShiftHalf => ((i + side - side / 2) % side, j),
                Self::Transpose => (j, i),
            };
            image[i * side + j]
        };
        let pixels = (0..image.len()).map(pixel);
        if self == Self::Invert { pixels.map(|x| 1.0 - x).collect() } else { pixels.collect() }
    }
}
