use std::fs;

use tidings_authn::{Service, ServiceIdentity, SuiteSecret};
use tidings_ids::Source;

use crate::Suite;

impl Suite {
    /// What a service of this suite proves who it is with.
    ///
    /// # Panics
    ///
    /// When the suite has no secret.
    #[must_use]
    pub fn identity(&self, service: Service) -> ServiceIdentity {
        let secret = fs::read_to_string(self.folder().join("suite")).expect("a suite has a secret");
        let secret = SuiteSecret::new(&secret).expect("the suite runs with it");
        ServiceIdentity::new(service, &secret, Source::system())
    }
}
