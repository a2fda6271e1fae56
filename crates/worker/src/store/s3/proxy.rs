//! Proxies of the environment. Metadata files and lakeFS's API go through them by themselves; the SDK's own client goes through
//! none, so that objects would take another way than everything else.

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector};
use planner::trouble;

/// A client that goes through them, as the SDK's own in everything else; `None` where there are none.
pub(super) fn client() -> Option<SharedHttpClient> {
    trouble::proxy()?;
    Some(Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build()
    }))
}
