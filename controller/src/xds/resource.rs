//! The one resource: filter code and table as Envoy's `Wasm` HTTP filter configuration.

use std::fmt;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{
    AsyncDataSource, BackoffStrategy, DataSource, TypedExtensionConfig, async_data_source,
    data_source,
};
use envoy_types::pb::envoy::extensions::filters::http::wasm::v3::Wasm;
use envoy_types::pb::envoy::extensions::wasm::v3::{
    FailurePolicy, PluginConfig, ReloadConfig, VmConfig, plugin_config,
};
use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, StringValue};
use envoy_types::util::pack_any;

/// Name of the resource, of the HTTP filter in Envoy's chain that asks for it, and of the plugin.
pub const RESOURCE: &str = "hookgate";

/// The only type this server knows.
pub(super) const TYPE_URL: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// After a trap the VM is made anew; this is the pause before the second and later ones in a row.
const RELOAD_PAUSE_NANOS: i32 = 50_000_000;

/// What all Envoys shall run.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Hash of code and table: equal on replicas with equal inputs.
    pub version: String,
    /// The filter, a WebAssembly module.
    pub wasm: Arc<[u8]>,
    /// The table: the plugin's configuration, JSON.
    pub table: String,
    /// Whether the filter holds the headers until its verdict. False only for hosts that do not
    /// allow it.
    pub hold_headers: bool,
}

impl fmt::Debug for Snapshot {
    /// Sizes instead of contents: the table is nothing for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("version", &self.version)
            .field("wasm_bytes", &self.wasm.len())
            .field("table_bytes", &self.table.len())
            .field("hold_headers", &self.hold_headers)
            .finish()
    }
}

impl Snapshot {
    /// The resource as it goes over the wire.
    pub(super) fn resource(&self) -> Any {
        pack_any(TypedExtensionConfig {
            name: RESOURCE.to_owned(),
            typed_config: Some(pack_any(Wasm {
                config: Some(self.plugin()),
            })),
        })
    }

    /// The code is inline: a fetch by URL would let hooks pass unverified until it is done. The VM id
    /// never changes, because shared data (the buckets) lives under it.
    fn plugin(&self) -> PluginConfig {
        let vm = VmConfig {
            vm_id: RESOURCE.to_owned(),
            runtime: "envoy.wasm.runtime.v8".to_owned(),
            code: Some(AsyncDataSource {
                specifier: Some(async_data_source::Specifier::Local(DataSource {
                    specifier: Some(data_source::Specifier::InlineBytes(self.wasm.to_vec())),
                    ..DataSource::default()
                })),
            }),
            ..VmConfig::default()
        };
        let reload = ReloadConfig {
            backoff: Some(BackoffStrategy {
                base_interval: Some(Duration {
                    seconds: 0,
                    nanos: RELOAD_PAUSE_NANOS,
                }),
                max_interval: None,
            }),
        };
        PluginConfig {
            name: RESOURCE.to_owned(),
            root_id: RESOURCE.to_owned(),
            configuration: Some(pack_any(StringValue {
                value: self.table.clone(),
            })),
            failure_policy: FailurePolicy::FailReload.into(),
            reload_config: Some(reload),
            // Without it a held request hangs: Envoy then stops its body too.
            allow_on_headers_stop_iteration: self.hold_headers.then_some(BoolValue { value: true }),
            vm: Some(plugin_config::Vm::VmConfig(vm)),
            ..PluginConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(hold_headers: bool) -> Snapshot {
        Snapshot {
            version: "1".to_owned(),
            wasm: Arc::from(&b"code"[..]),
            table: "secret table".to_owned(),
            hold_headers,
        }
    }

    #[test]
    fn the_plugin_holds_headers_reloads_after_a_trap_and_carries_its_code() {
        let plugin = snapshot(true).plugin();
        assert_eq!(
            plugin.allow_on_headers_stop_iteration,
            Some(BoolValue { value: true })
        );
        assert_eq!(plugin.failure_policy(), FailurePolicy::FailReload);
        let Some(plugin_config::Vm::VmConfig(vm)) = plugin.vm else {
            panic!("no VM")
        };
        let local = vm.code.unwrap().specifier.unwrap();
        let async_data_source::Specifier::Local(source) = local else {
            panic!("code by URL")
        };
        assert_eq!(
            source.specifier,
            Some(data_source::Specifier::InlineBytes(b"code".to_vec()))
        );
        assert_eq!(
            (vm.vm_id.as_str(), vm.runtime.as_str()),
            ("hookgate", "envoy.wasm.runtime.v8")
        );
    }

    #[test]
    fn only_a_host_that_cannot_hold_headers_is_not_asked_to() {
        assert_eq!(
            snapshot(false).plugin().allow_on_headers_stop_iteration,
            None
        );
    }

    #[test]
    fn debug_output_shows_sizes_and_no_table() {
        assert_eq!(
            format!("{:?}", snapshot(true)),
            "Snapshot { version: \"1\", wasm_bytes: 4, table_bytes: 12, hold_headers: true }"
        );
    }
}
