#pragma once
// What this build calls itself.

namespace conclave::server {

inline constexpr const char* kConclaveVersion = "0.1.0";
// The etcd whose API is served: clients read it and choose what they may ask.
inline constexpr const char* kEtcdVersion = "3.4.23";

}  // namespace conclave::server
