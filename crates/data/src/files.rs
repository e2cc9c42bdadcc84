use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::DataError;

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The longest line of a text file, in bytes; rows of every format are far shorter.
const LINE: u64 = 1 << 16;
/// How much is held of what is only counted.
const BLOCK: u64 = 1 << 16;

/// A file, decompressed if it is gzip data, whatever its name. Only what is asked for is held in memory, so that neither
/// a header that lies nor a small file that decompresses to a large one costs more than its content is worth.
pub(crate) struct Source {
    file: PathBuf,
    gzip: bool,
    reader: Box<dyn BufRead>,
    /// Bytes handed out so far.
    byte: u64,
}

impl Source {
    pub(crate) fn open(file: &Path) -> Result<Self, DataError> {
        let mut plain = BufReader::new(File::open(file).map_err(DataError::io(file))?);
        let gzip = plain.fill_buf().map_err(DataError::io(file))?.starts_with(&GZIP);
        let reader: Box<dyn BufRead> =
            if gzip { Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(plain))) } else { Box::new(plain) };
        Ok(Self { file: file.into(), gzip, reader, byte: 0 })
    }

    /// The next `count` bytes; fewer only at the end of the file.
    pub(crate) fn take(&mut self, count: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(count).read_to_end(&mut bytes);
        self.byte += bytes.len() as u64;
        read.map_err(|source| self.error(source))?;
        Ok(bytes)
    }

    /// How many bytes are left; reads over them.
    pub(crate) fn rest(&mut self) -> Result<u64, DataError> {
        let start = self.byte;
        while !self.take(BLOCK)?.is_empty() {}
        Ok(self.byte - start)
    }

    /// Replaces `text` by the next line, which has the number `line`; nothing is left of it at the end of the file. Returns
    /// the byte at which the line begins.
    pub(crate) fn line(&mut self, line: usize, text: &mut Vec<u8>) -> Result<u64, DataError> {
        text.clear();
        let byte = self.byte;
        let read = (&mut self.reader).take(LINE).read_until(b'\n', text);
        self.byte += text.len() as u64;
        read.map_err(|source| self.error(source))?;
        if text.len() as u64 == LINE && !text.ends_with(b"\n") {
            return Err(DataError::LongLine { file: self.file.clone(), line, byte, limit: LINE });
        }
        Ok(byte)
    }

    fn error(&self, source: io::Error) -> DataError {
        let file = self.file.clone();
        if self.gzip { DataError::Gzip { file, byte: self.byte, source } } else { DataError::Io { file, source } }
    }
}

/// The first bytes of a file, decompressed if they are gzip data; fewer if it is shorter, none if these are damaged: such a
/// file is not recognised, and reading it whole says what is wrong.
pub(crate) fn head(file: &Path, count: u64) -> Result<Vec<u8>, DataError> {
    match Source::open(file)?.take(count) {
        Err(DataError::Gzip { .. }) => Ok(Vec::new()),
        head => head,
    }
}

/// The files and the folders in a folder, each sorted by name.
pub(crate) fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(DataError::io(folder))? {
        let path = entry.map_err(DataError::io(folder))?.path();
        match path.is_dir() {
            true => folders.push(path),
            // Opening a pipe or a socket would wait for ever.
            false if path.is_file() => files.push(path),
            false => {}
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}
