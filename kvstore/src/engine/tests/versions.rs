//! Files of another format version are refused with both versions and the remedy, and nothing is touched.

use super::*;

/// What a write needs to know of a row that it does not read.
#[test]
fn how_large_a_row_may_be_is_known_without_reading_it() {
    let engine = open(&MemoryDisk::new(), SMALL);
    assert_eq!(engine.row_bytes_bound(b"k"), Some(0));
    write(&engine, 1, "k", &[put("a", "12345")]);
    write(&engine, 2, "k", &[put("a", "1234567")]);
    assert_eq!(engine.row_bytes_bound(b"k"), Some(9), "key, name, newest value");
    flush(&engine).unwrap();
    write(&engine, 3, "k", &[put("b", "1")]);
    write(&engine, 3, "l", &[put("b", "123")]);
    assert_eq!(engine.row_bytes_bound(b"k"), Some(9 + 3));
    flush(&engine).unwrap();
    assert_eq!(engine.row_bytes_bound(b"k"), Some(9 + 5), "the largest row of each table that may have it");
    assert_eq!(engine.row_bytes_bound(b"never"), Some(0));
    assert_eq!(engine.get(b"k", &Columns::All).unwrap().0.content_bytes(), 1 + 8 + 2);
}

/// Writes another version at `offset`, and whatever checksum belongs to it.
fn set_version(disk: &MemoryDisk, name: &str, version: u32, seal: impl FnOnce(&mut Vec<u8>, [u8; 4])) {
    let file = Disk::open(disk, name).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    seal(&mut bytes, version.to_le_bytes());
    file.write_all_at(&bytes, 0).unwrap();
}

fn refusal(disk: &MemoryDisk) -> String {
    let before = disk.files();
    let error = try_open(disk, SMALL).err().expect("another version is refused").to_string();
    assert_eq!(disk.files(), before, "nothing is removed");
    error
}

fn with_one_table() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let engine = open(&disk, SMALL);
    write(&engine, 1, "k", &[put("a", "1")]);
    flush(&engine).unwrap();
    disk
}

#[test]
fn a_manifest_of_another_version_is_refused() {
    for version in [0, 2, 77] {
        let disk = with_one_table();
        set_version(&disk, "r-1/manifest", version, |bytes, version| {
            // Magic of 8 bytes, checksum of the rest, version.
            bytes[12..16].copy_from_slice(&version);
            let checksum = crc32c::crc32c(&bytes[12..]);
            bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        });
        let error = refusal(&disk);
        let expected = format!("manifest has format version {version}, this program reads version 1 only: ");
        assert!(error.contains(&expected) && error.contains("--rebuild"), "{error}");
    }
}

#[test]
fn a_table_of_another_version_is_refused_and_not_taken_for_damaged() {
    for version in [1, 3] {
        let disk = with_one_table();
        set_version(&disk, &file_name(DIR, 1), version, |bytes, version| {
            // Footer: four numbers of 8 bytes, version, checksum of those, magic of 8 bytes.
            let footer = bytes.len() - 48;
            bytes[footer + 32..footer + 36].copy_from_slice(&version);
            let checksum = crc32c::crc32c(&bytes[footer..footer + 36]);
            bytes[footer + 36..footer + 40].copy_from_slice(&checksum.to_le_bytes());
        });
        let error = refusal(&disk);
        let expected =
            format!("000001.sst has format version {version}, this program reads version 2 only: ");
        assert!(error.contains(&expected) && error.contains("--rebuild"), "{error}");
    }
}
