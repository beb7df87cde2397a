#pragma once
// How many gRPC calls of each of etcd's methods began, and how they ended: what etcd's dashboards
// and alerts know as grpc_server_started_total and grpc_server_handled_total.
//
// Not thread-safe: all sessions of a member belong to one thread.

#include <array>
#include <cstddef>
#include <cstdint>

#include "frontends/etcd/methods.h"
#include "wire/grpc.h"

namespace conclave::etcd {

// Of all connections of a member.
struct CallCounts {
  static constexpr std::size_t kMethods = static_cast<std::size_t>(Method::kResign) + 1;
  static constexpr std::size_t kCodes =
      static_cast<std::size_t>(wire::GrpcCode::kUnauthenticated) + 1;

  struct OfMethod {
    std::uint64_t started = 0;
    std::array<std::uint64_t, kCodes> handled{};  // by code
  };
  const OfMethod& of(Method method) const { return methods[static_cast<std::size_t>(method)]; }

  std::array<OfMethod, kMethods> methods;
};

// What one connection adds to them. A call that is open when the connection ends was cancelled.
class CallCounter {
 public:
  // nullptr: nobody counts. `counts` outlives it.
  explicit CallCounter(CallCounts* counts) : counts_(counts) {}
  ~CallCounter() {
    if (counts_ == nullptr) return;
    constexpr auto kCancelled = static_cast<std::size_t>(wire::GrpcCode::kCancelled);
    for (std::size_t i = 0; i < open_.size(); ++i) {
      counts_->methods[i].handled[kCancelled] += open_[i];
    }
  }
  CallCounter(const CallCounter&) = delete;
  CallCounter& operator=(const CallCounter&) = delete;

  void started(Method method) {
    if (counts_ == nullptr) return;
    const auto i = static_cast<std::size_t>(method);
    ++counts_->methods[i].started;
    ++open_[i];
  }
  void ended(Method method, wire::GrpcCode code) {
    if (counts_ == nullptr) return;
    const auto i = static_cast<std::size_t>(method);
    ++counts_->methods[i].handled[static_cast<std::size_t>(code)];
    --open_[i];
  }

 private:
  CallCounts* counts_;
  std::array<std::uint32_t, CallCounts::kMethods> open_{};
};

}  // namespace conclave::etcd
