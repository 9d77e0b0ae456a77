//! Archives that are the same bytes whenever they hold the same files: names in
//! order, one time for all, nobody's user and no machine's habits.

use std::io::{self, Cursor, Write as _};

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

use crate::target::Target;

/// A file of an archive.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The path inside, with `/`.
    pub(crate) path: String,
    /// Whether it is a program.
    pub(crate) executable: bool,
    pub(crate) content: Vec<u8>,
}

impl Entry {
    pub(crate) fn file(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            executable: false,
            content: content.into(),
        }
    }

    pub(crate) fn program(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            executable: true,
            ..Self::file(path, content)
        }
    }

    fn mode(&self) -> u32 {
        match self.executable {
            true => 0o755,
            false => 0o644,
        }
    }
}

/// Packs files in the format that a target's users unpack without a further tool.
///
/// `time` is what all files are dated.
pub(crate) fn pack(target: Target, entries: &[Entry], time: OffsetDateTime) -> io::Result<Vec<u8>> {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|entry| &entry.path);
    match target.is_windows() {
        true => zip(&entries, time),
        false => tar_gz(&entries, time),
    }
}

fn tar_gz(entries: &[&Entry], time: OffsetDateTime) -> io::Result<Vec<u8>> {
    // No name, no time, and no mark of the system it was packed on.
    let compressed = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::best());
    let mut tar = tar::Builder::new(compressed);
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(entry.content.len() as u64);
        header.set_mode(entry.mode());
        header.set_mtime(time.unix_timestamp().try_into().unwrap_or(0));
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, &entry.path, entry.content.as_slice())?;
    }
    tar.into_inner()?.finish()
}

fn zip(entries: &[&Entry], time: OffsetDateTime) -> io::Result<Vec<u8>> {
    let date = DateTime::from_date_and_time(
        time.year().try_into().unwrap_or(1980),
        time.month().into(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
    );
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(9))
        .last_modified_time(date.unwrap_or_default());
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for entry in entries {
        zip.start_file(entry.path.as_str(), options.unix_permissions(entry.mode()))?;
        zip.write_all(&entry.content)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// The SHA-256 in lower-case hexadecimal, as krew and `sha256sum` write it.
pub(crate) fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, process::Command};

    use time::macros::datetime;

    use super::*;
    use crate::target::TARGETS;

    const TIME: OffsetDateTime = datetime!(2026-01-02 03:04:06 UTC);

    fn entries() -> Vec<Entry> {
        vec![
            Entry::program("kubectl-x", "binary"),
            Entry::file("LICENSE", "text"),
            Entry::file("man/kubectl-x.1", "page"),
        ]
    }

    #[test]
    fn the_order_in_which_files_are_found_does_not_matter() {
        for target in TARGETS {
            let packed = pack(target, &entries(), TIME).expect("packs");
            let mut reversed = entries();
            reversed.reverse();
            assert_eq!(packed, pack(target, &reversed, TIME).expect("packs"));
            assert_ne!(
                packed,
                pack(target, &entries(), TIME + time::Duration::MINUTE).expect("packs")
            );
        }
    }

    #[test]
    fn a_tar_holds_nothing_of_who_packed_it() {
        let packed = tar_gz(&entries().iter().collect::<Vec<_>>(), TIME).expect("packs");
        assert_eq!(packed[4..10], [0, 0, 0, 0, 2, 255], "time, effort and system");
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        for (entry, want) in tar.entries().expect("is a tar").zip(entries()) {
            let mut entry = entry.expect("is whole");
            let header = entry.header().clone();
            assert_eq!(header.path().expect("is a path").to_string_lossy(), want.path);
            assert_eq!(header.mode().ok(), Some(want.mode()));
            assert_eq!(
                (header.uid().ok(), header.gid().ok(), header.username()),
                (Some(0), Some(0), Ok(Some("")))
            );
            assert_eq!(header.mtime().ok(), Some(TIME.unix_timestamp() as u64));
            assert_eq!(header.entry_type(), tar::EntryType::Regular);
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("is whole");
            assert_eq!(content, want.content);
        }
    }

    #[test]
    fn pythons_reader_of_zip_finds_the_same_files_in_a_zip() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.zip");
        let windows = Target::parse("x86_64-pc-windows-msvc").expect("is one of ours");
        fs::write(&path, pack(windows, &entries(), TIME).expect("packs")).expect("is ours");
        let read = "import sys, zipfile\n\
            archive = zipfile.ZipFile(sys.argv[1])\n\
            for file in archive.infolist():\n    \
                print(file.filename, oct(file.external_attr >> 16), file.date_time, archive.read(file))";
        let output = Command::new("python3").args(["-c", read]).arg(&path).output();
        assert_eq!(
            String::from_utf8_lossy(&output.expect("python3 runs").stdout),
            "LICENSE 0o100644 (2026, 1, 2, 3, 4, 6) b'text'\n\
             kubectl-x 0o100755 (2026, 1, 2, 3, 4, 6) b'binary'\n\
             man/kubectl-x.1 0o100644 (2026, 1, 2, 3, 4, 6) b'page'\n"
        );
    }

    #[test]
    fn checksums_are_those_of_sha256sum() {
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
