//! Join tokens: a one-time secret bound to the fingerprint of the cluster's authority.

use std::fmt;
use std::str::FromStr;

use crate::address::{AddressError, ServerAddress};
use crate::authority::{fingerprint, random};
use crate::error::IdentityError;

/// Begins every token, so that a person sees what it is and a newer form can be told apart.
const PREFIX: &str = "wrun1-";

/// What lets one machine join. A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Known to the server by its hash alone.
    pub secret: [u8; 32],
    /// SHA-256 of the authority's certificate, DER.
    pub fingerprint: [u8; 32],
}

/// `TOKEN@HOST:PORT`, as `wrun worker --join` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAddress {
    /// The token.
    pub token: JoinToken,
    /// Where the server is.
    pub server: ServerAddress,
}

/// The text is not a join token or address. Says nothing of the text, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseTokenError {
    /// Not a token.
    #[error("this is not a join token: {0}; copy it whole, as the server printed it")]
    Token(&'static str),
    /// No `@`.
    #[error("expected TOKEN@HOST:PORT, as the server printed it: the `@` is missing")]
    NoAddress,
    /// After the `@`.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl JoinToken {
    /// A new token with a random secret. Fails where the system gives no random bytes.
    pub fn create(fingerprint: [u8; 32]) -> Result<Self, IdentityError> {
        Ok(Self { secret: random()?, fingerprint })
    }

    /// SHA-256 of the secret: what the server keeps.
    pub fn hash(&self) -> [u8; 32] {
        Self::hash_secret(&self.secret)
    }

    /// SHA-256 of a secret that came by itself.
    pub fn hash_secret(secret: &[u8; 32]) -> [u8; 32] {
        fingerprint(secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken")
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.secret.iter().chain(&self.fingerprint).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for JoinToken {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text
            .strip_prefix(PREFIX)
            .ok_or(ParseTokenError::Token("it does not begin with `wrun1-`"))?;
        if digits.len() != 128 {
            return Err(ParseTokenError::Token("its length is wrong"));
        }
        let mut values = digits.bytes().map(|digit| char::from(digit).to_digit(16));
        let mut byte = || {
            let (high, low) = (values.next()??, values.next()??);
            u8::try_from(high << 4 | low).ok()
        };
        let mut token = Self { secret: [0; 32], fingerprint: [0; 32] };
        for place in token.secret.iter_mut().chain(&mut token.fingerprint) {
            *place =
                byte().ok_or(ParseTokenError::Token("it holds other than hexadecimal digits"))?;
        }
        Ok(token)
    }
}

impl fmt::Display for JoinAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.token, self.server)
    }
}

impl FromStr for JoinAddress {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (token, server) = text.trim().split_once('@').ok_or(ParseTokenError::NoAddress)?;
        Ok(Self { token: token.parse()?, server: server.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_what_it_prints() {
        let token = JoinToken::create([7; 32]).unwrap();
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        let text = format!("{token}@[::1]:7450");
        let address: JoinAddress = text.parse().unwrap();
        assert_eq!(address.token, token);
        assert_eq!(address.to_string(), text);
    }

    #[test]
    fn two_tokens_differ_and_only_the_secret_is_hashed() {
        let (a, b) = (JoinToken::create([7; 32]).unwrap(), JoinToken::create([7; 32]).unwrap());
        assert_ne!(a.secret, b.secret);
        assert_eq!(a.hash(), JoinToken { fingerprint: [8; 32], ..a.clone() }.hash());
        assert_ne!(a.hash(), b.hash());
    }

    #[test]
    fn other_text_is_refused_without_being_repeated() {
        let token = JoinToken::create([7; 32]).unwrap().to_string();
        for text in ["", "wrun1-", "wrun1-zz", &token[..40], &format!("{token}0"), "secret"] {
            let error = text.parse::<JoinToken>().unwrap_err().to_string();
            assert!(text.len() < 8 || !error.contains(text), "{error}");
        }
        let wide = format!("wrun1-{}", "é".repeat(64));
        assert!(wide.parse::<JoinToken>().is_err());
        assert_eq!(token.parse::<JoinAddress>(), Err(ParseTokenError::NoAddress));
        let portless = format!("{token}@host").parse::<JoinAddress>();
        assert!(matches!(portless, Err(ParseTokenError::Address(_))));
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let token = JoinToken { secret: [0xab; 32], fingerprint: [0xcd; 32] };
        assert!(!format!("{token:?}").contains("ab"));
    }
}
