//! Basic authentication (RFC 7617): reads a user name and a password from the `Authorization`
//! header.

use std::fmt;

use base64_simd::STANDARD;

/// The name and password that a client has sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name. It contains no colon.
    pub name: String,
    /// The password. It may contain any characters except control characters.
    pub password: String,
}

/// Omits the password, which must not get into a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why a header contains no valid credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasicError {
    /// The header uses another scheme, such as Bearer. The server responds as if it were missing.
    OtherScheme,
    /// The part after the scheme is not padded base64 (RFC 4648 §4).
    NotBase64,
    /// The decoded text is not UTF-8 or contains control characters (RFC 7617 §2 and §2.1).
    NotText,
    /// The decoded text has no colon.
    NoColon,
}

impl fmt::Display for BasicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BasicError::OtherScheme => "the credentials are not of the scheme Basic",
            BasicError::NotBase64 => "the credentials are not base64",
            BasicError::NotText => "the credentials are not UTF-8 text without control characters",
            BasicError::NoColon => "the credentials hold no colon",
        })
    }
}

impl std::error::Error for BasicError {}

/// Parses the value of an `Authorization` header.
///
/// # Errors
/// See [`BasicError`]. The response to each of them is 401.
pub fn parse(value: &[u8]) -> Result<Credentials, BasicError> {
    let value = value.trim_ascii();
    // RFC 9110 §11.4: the scheme is case-insensitive, and one or more spaces follow it.
    let end = value
        .iter()
        .position(|byte| *byte == b' ')
        .ok_or(BasicError::OtherScheme)?;
    let (scheme, encoded) = value.split_at(end);
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return Err(BasicError::OtherScheme);
    }
    let encoded = encoded.trim_ascii_start();
    let text = STANDARD
        .decode_to_vec(encoded)
        .map_err(|_| BasicError::NotBase64)?;
    let text = String::from_utf8(text).map_err(|_| BasicError::NotText)?;
    if text.contains(char::is_control) {
        return Err(BasicError::NotText);
    }
    // RFC 7617 §2: the first colon is the separator. The password may contain further colons.
    let (name, password) = text.split_once(':').ok_or(BasicError::NoColon)?;
    Ok(Credentials {
        name: name.to_owned(),
        password: password.to_owned(),
    })
}

/// Returns the value of an `Authorization` header with these credentials.
pub fn format(credentials: &Credentials) -> String {
    format!(
        "Basic {}",
        STANDARD.encode_to_string(format!("{}:{}", credentials.name, credentials.password))
    )
}

/// Fuzz target: parsed credentials stay the same when they are formatted and parsed again.
#[doc(hidden)]
pub fn check(value: &[u8]) {
    if let Ok(credentials) = parse(value) {
        assert!(!credentials.name.contains(':'));
        let again = parse(format(&credentials).as_bytes());
        assert!(again.is_ok_and(|again| again == credentials));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_taken_apart_at_the_first_colon() {
        for (text, name, password) in [
            // RFC 7617 §2 and §2.1.
            (
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
                "Aladdin",
                "open sesame",
            ),
            ("Basic dGVzdDoxMjPCow==", "test", "123£"),
            ("basic YTpi", "a", "b"),
            ("BASIC   YTpi", "a", "b"),
            (" Basic YTpi\t", "a", "b"),
            ("Basic YTo=", "a", ""),
            ("Basic OmI=", "", "b"),
            ("Basic Og==", "", ""),
            ("Basic YTpiOmM6", "a", "b:c:"),
            ("Basic YUBiOmNAZDplQGY=", "a@b", "c@d:e@f"),
        ] {
            let credentials = parse(text.as_bytes());
            assert_eq!(
                credentials,
                Ok(Credentials {
                    name: name.into(),
                    password: password.into()
                }),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_strictly_right_is_refused() {
        use BasicError::*;
        for (text, error) in [
            ("", OtherScheme),
            ("Basic", OtherScheme),
            ("Bearer YTpi", OtherScheme),
            ("Basically YTpi", OtherScheme),
            ("Basic\tYTpi", OtherScheme),
            ("Basic YTo", NotBase64),
            ("Basic YTp=", NotBase64),
            ("Basic YTpi=", NotBase64),
            ("Basic YT pi", NotBase64),
            ("Basic YTpi,", NotBase64),
            ("Basic YTpi YTpi", NotBase64),
            ("Basic YTo_", NotBase64),
            ("Basic a:b", NotBase64),
            ("Basic /zpi", NotText),
            ("Basic YTpiCg==", NotText),
            ("Basic ADo=", NotText),
            ("Basic YWI=", NoColon),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(parse(b"Basic "), Err(OtherScheme));
    }

    #[test]
    fn a_password_is_never_shown() {
        let credentials = Credentials {
            name: "ada".into(),
            password: "secret".into(),
        };
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
