//! Wire formats of other projects, generated from the files in `proto/` (see its README for versions).
//!
//! Only this file and `bounded.rs` are written by hand; `tests/proto.rs` regenerates the rest and compares. The modules follow the
//! protobuf packages, because generated code refers to itself by these paths.

pub mod bounded;

/// Packages of opentelemetry-proto.
pub mod opentelemetry {
    /// The `opentelemetry.proto` package.
    pub mod proto {
        /// The services senders export to.
        pub mod collector {
            /// Log records.
            pub mod logs {
                /// Version 1.
                #[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
                pub mod v1 {
                    include!("opentelemetry.proto.collector.logs.v1.rs");
                }
            }
            /// Metrics.
            pub mod metrics {
                /// Version 1.
                #[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
                pub mod v1 {
                    include!("opentelemetry.proto.collector.metrics.v1.rs");
                }
            }
            /// Spans.
            pub mod trace {
                /// Version 1.
                #[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
                pub mod v1 {
                    include!("opentelemetry.proto.collector.trace.v1.rs");
                }
            }
        }
        /// Attributes and scopes.
        pub mod common {
            /// Version 1.
            #[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
            pub mod v1 {
                include!("opentelemetry.proto.common.v1.rs");
            }
        }
        /// Log records.
        pub mod logs {
            /// Version 1.
            #[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
            pub mod v1 {
                include!("opentelemetry.proto.logs.v1.rs");
            }
        }
        /// Metrics.
        pub mod metrics {
            /// Version 1.
            #[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
            pub mod v1 {
                include!("opentelemetry.proto.metrics.v1.rs");
            }
        }
        /// Resources.
        pub mod resource {
            /// Version 1.
            #[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
            pub mod v1 {
                include!("opentelemetry.proto.resource.v1.rs");
            }
        }
        /// Spans.
        pub mod trace {
            /// Version 1.
            #[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
            pub mod v1 {
                include!("opentelemetry.proto.trace.v1.rs");
            }
        }
    }
}
