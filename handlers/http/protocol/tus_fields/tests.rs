use super::*;

fn names(filename: Option<&str>, relative_path: Option<&str>) -> Result<Metadata, TusFieldError> {
    let (filename, relative_path) = (
        filename.map(str::to_owned),
        relative_path.map(str::to_owned),
    );
    Ok(Metadata {
        filename,
        relative_path,
        modified: None,
    })
}

#[test]
fn metadata_is_a_list_of_keys_and_encoded_values() {
    for (field, read) in [
        (
            "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential",
            names(Some("world_domination_plan.pdf"), None),
        ),
        (
            "relativePath YS9i, filename Yg==",
            names(Some("b"), Some("a/b")),
        ),
        ("a , b ,\tfilename w6k=", names(Some("\u{e9}"), None)),
        ("filename", names(Some(""), None)),
        ("Filename Yg==", names(None, None)),
        ("a /w==", names(None, None)),
        ("filename /w==", Err(TusFieldError::NotText)),
        ("", Err(TusFieldError::Metadata)),
        ("a,", Err(TusFieldError::Metadata)),
        (",a", Err(TusFieldError::Metadata)),
        ("a b c", Err(TusFieldError::Metadata)),
        ("filename Yg", Err(TusFieldError::Metadata)),
        ("filename Yg=", Err(TusFieldError::Metadata)),
        ("filename  Yg==", Err(TusFieldError::Metadata)),
        ("filename Y-_=", Err(TusFieldError::Metadata)),
        ("a Yg==,a Yg==", Err(TusFieldError::TwoOfOneKey)),
    ] {
        assert_eq!(metadata(field.as_bytes()), read, "{field}");
    }
}

#[test]
fn a_date_is_in_seconds_or_in_milliseconds() {
    let encoded = |key: &str, value: &str| format!("{key} {}", STANDARD.encode_to_string(value));
    let (seconds, milliseconds) = (
        encoded("mtime", "1500.5"),
        encoded("lastModified", "1500500"),
    );
    let date = Some(UNIX_EPOCH + std::time::Duration::from_millis(1_500_500));
    for field in [
        seconds.clone(),
        milliseconds,
        format!("{},{seconds}", encoded("lastModified", "1")),
    ] {
        assert_eq!(
            metadata(field.as_bytes()).unwrap().modified,
            date,
            "{field}"
        );
    }
    for unknown in [
        encoded("mtime", ""),
        encoded("lastModified", "null"),
        "mtime".to_owned(),
        encoded("Mtime", "x"),
    ] {
        assert_eq!(
            metadata(unknown.as_bytes()),
            Ok(Metadata::default()),
            "{unknown}"
        );
    }
    for wrong in [
        encoded("mtime", "yesterday"),
        encoded("lastModified", "1.5"),
        encoded("mtime", "-1"),
    ] {
        assert_eq!(
            metadata(wrong.as_bytes()),
            Err(TusFieldError::Date),
            "{wrong}"
        );
    }
}

#[test]
fn a_checksum_is_an_algorithm_and_as_many_bytes_as_it_has() {
    let sha1 = checksum(b"sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=").unwrap();
    assert!(matches!(sha1, Checksum::Sha1([0x2a, ..])), "{sha1:?}");
    let md5 = checksum(b"md5 kAFQmDzST7DWlj99KOF/cg==").unwrap();
    assert!(matches!(md5, Checksum::Md5([0x90, ..])), "{md5:?}");
    let sha256 = checksum(b"sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=").unwrap();
    assert!(matches!(sha256, Checksum::Sha256([0xba, ..])), "{sha256:?}");
    for (field, error) in [
        ("", TusFieldError::Checksum),
        ("sha1", TusFieldError::Checksum),
        ("sha1 Kq5", TusFieldError::Checksum),
        (
            "sha1  Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
            TusFieldError::Checksum,
        ),
        ("sha1 ", TusFieldError::Length),
        ("md5 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", TusFieldError::Length),
        (
            "SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
            TusFieldError::Algorithm,
        ),
        ("crc32 AAAAAA==", TusFieldError::Algorithm),
    ] {
        assert_eq!(checksum(field.as_bytes()), Err(error), "{field}");
    }
}

#[test]
fn a_number_has_digits_only() {
    for (field, read) in [
        ("0", Some(0)),
        ("007", Some(7)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
    ] {
        assert_eq!(number(field.as_bytes()), read);
    }
    for field in ["", "+1", "-1", "1 ", "0x1", "1.0", "1,1", "\u{663}"] {
        assert_eq!(number(field.as_bytes()), None, "{field}");
    }
}
