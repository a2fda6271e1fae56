//! Who an S3 request is sent to and as whom, and the client for it.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{IdentityCache, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use planner::{Error, Result};

use super::clock::ServerClock;
use super::credentials::KeptCredentials;
use super::last_look::LastLook;
use crate::store::Access;
use crate::store::identity::{endpoint_identity, wants_path_style};
use crate::store::settings::{StoreSettings, Variables, check_endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_REGION: &str = "us-east-1";

/// The AWS configuration of the environment, one for each profile that the settings name. Read once, offline; credentials
/// are asked for with the first request.
#[derive(Debug, Default)]
pub(crate) struct SdkConfigs {
    profiles: HashMap<Option<String>, SdkConfig>,
    variables: Variables,
}

impl SdkConfigs {
    pub(crate) async fn load(settings: &[StoreSettings], variables: Variables) -> Self {
        let mut configs = HashMap::new();
        configs.insert(None, load_config(None).await);
        for profile in settings.iter().filter_map(|one| one.profile.clone()) {
            if let std::collections::hash_map::Entry::Vacant(free) = configs.entry(Some(profile.clone())) {
                free.insert(load_config(Some(profile)).await);
            }
        }
        Self { profiles: configs, variables }
    }

    fn of(&self, profile: Option<&String>) -> Option<&SdkConfig> {
        self.profiles.get(&profile.cloned())
    }
}

/// The configuration of a profile, or of the environment, as it is now.
pub(super) async fn load_config(profile: Option<String>) -> SdkConfig {
    // The SDK's own chain ends in a question to the instance's metadata service, which costs seconds where there is none.
    let mut files = ProfileFileRegionProvider::builder();
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(profile) = profile {
        files = files.profile_name(profile.clone());
        loader = loader.profile_name(profile);
    }
    let environment = aws_config::environment::EnvironmentVariableRegionProvider::new();
    loader.region(RegionProviderChain::first_try(environment).or_else(files.build())).load().await
}

/// Everything that decides which client a request goes through.
#[derive(Clone)]
pub(crate) struct S3Access {
    sdk: SdkConfig,
    /// Where it is known to differ from Amazon's own.
    pub(crate) endpoint: Option<String>,
    pub(crate) region: String,
    pub(crate) path_style: bool,
    /// `None` is anonymous.
    pub(crate) provider: Option<SharedCredentialsProvider>,
    /// Whose chain can be read again for other credentials: a profile, or the environment.
    renewal: Option<super::credentials::Chain>,
    pub(crate) access: Access,
}

impl fmt::Debug for S3Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Access").field("access", &self.access).field("region", &self.region).finish_non_exhaustive()
    }
}

/// What tells two clients apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey {
    endpoint: Option<String>,
    region: String,
    path_style: bool,
    credentials: String,
}

impl S3Access {
    /// Puts the settings over the environment.
    ///
    /// # Errors
    /// A variable that is named and not set.
    pub(crate) fn resolve(configs: &SdkConfigs, settings: Option<&StoreSettings>) -> Result<Self> {
        let none = StoreSettings::default();
        let settings = settings.unwrap_or(&none);
        let Some(sdk) = configs.of(settings.profile.as_ref()) else {
            return Err(Error::bug(format!("profile {:?} was not loaded", settings.profile)));
        };
        let endpoint = endpoint(sdk, settings);
        endpoint.as_deref().map_or(Ok(()), check_endpoint)?;
        let region = settings.region.clone().or_else(|| sdk.region().map(|region| region.as_ref().to_owned()));
        let named = named_credentials(settings, &configs.variables)?;
        let renewal = named.is_none().then(|| settings.profile.clone());
        let provider = match (settings.anonymous, named) {
            (true, _) => None,
            (false, Some(named)) => Some(SharedCredentialsProvider::new(named)),
            (false, None) => sdk.credentials_provider(),
        };
        let access =
            Access { endpoint: format!("s3|{}", endpoint_identity(endpoint.as_deref())), credentials: settings.credentials() };
        Ok(Self {
            sdk: sdk.clone(),
            path_style: settings.path_style.unwrap_or_else(|| endpoint.as_deref().is_some_and(wants_path_style)),
            region: region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            endpoint,
            provider,
            renewal,
            access,
        })
    }

    /// Which server the settings lead to, whoever asks: no credentials are looked for.
    pub(crate) fn endpoint_identity(configs: &SdkConfigs, settings: Option<&StoreSettings>) -> String {
        let none = StoreSettings::default();
        let settings = settings.unwrap_or(&none);
        let endpoint = configs.of(settings.profile.as_ref()).and_then(|sdk| endpoint(sdk, settings));
        format!("s3|{}", endpoint_identity(endpoint.as_deref()))
    }

    pub(crate) fn key(&self) -> ClientKey {
        ClientKey {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            path_style: self.path_style,
            credentials: self.access.credentials.clone(),
        }
    }

    /// A client whose retries and time limits are ours: the SDK's own are off.
    pub(crate) fn connect(&self) -> Connection {
        let mut sdk = self.sdk.to_builder();
        let credentials = self.provider.clone().map(|provider| KeptCredentials::new(provider, self.renewal.clone()));
        sdk.set_credentials_provider(credentials.clone().map(SharedCredentialsProvider::new));
        let clock = ServerClock::default();
        let mut builder = aws_sdk_s3::config::Builder::from(&sdk.build())
            .region(Region::new(self.region.clone()))
            .force_path_style(self.path_style)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .time_source(clock.clone())
            .interceptor(LastLook)
            // The credentials are kept by us, who can drop them when a store says that they have expired.
            .identity_cache(IdentityCache::no_cache())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        if self.provider.is_none() {
            builder = builder.allow_no_auth();
        }
        if let Some(client) = super::proxy::client() {
            builder = builder.http_client(client);
        }
        Connection { client: Client::from_conf(builder.build()), clock, credentials }
    }
}

/// A client and what its refusals may change. Clones are one connection.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) clock: ServerClock,
    pub(crate) credentials: Option<KeptCredentials>,
}

/// The endpoint of the settings, else of the environment, else of the profile; without a slash at its end.
fn endpoint(sdk: &SdkConfig, settings: &StoreSettings) -> Option<String> {
    let from_environment = || std::env::var("AWS_ENDPOINT_URL_S3").ok().filter(|url| !url.is_empty());
    let endpoint = settings.endpoint.clone().or_else(from_environment).or_else(|| sdk.endpoint_url().map(str::to_owned));
    endpoint.map(|url| url.trim_end_matches('/').to_owned())
}

/// The credentials in the variables that the settings name.
fn named_credentials(settings: &StoreSettings, variables: &Variables) -> Result<Option<Credentials>> {
    let (Some(id), Some(secret)) = (&settings.access_key_id_env, &settings.secret_access_key_env) else { return Ok(None) };
    let read = |name: &String| {
        variables.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Error::unreachable(format!("the variable {name} holds no credentials for {}", settings.prefix))
                .with_help(format!("set {name}, or change the [[store]] table with prefix = \"{}\"", settings.prefix))
        })
    };
    let token = settings.session_token_env.as_ref().map(read).transpose()?;
    Ok(Some(Credentials::new(read(id)?, read(secret)?, token, None, "millrace settings")))
}
