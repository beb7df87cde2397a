#pragma once
// For tests: a Store with a log, in which each line of a transcript (transcript.h) becomes a log
// entry of its own.

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "store/snapshot.h"
#include "store/store.h"
#include "store/transcript.h"

namespace conclave::store {

class Replica {
 public:
  static constexpr NodeId kSelf{7};
  static constexpr std::uint64_t kIncarnation = 3;

  Replica() : store(Limits{}) {}
  explicit Replica(Store existing) : store(std::move(existing)) {}

  // Validates, routes and answers the request, as a member would; the answer as text.
  std::string run(std::string_view line) { return to_text(run(parse_request(line))); }

  // The same with a client's own id for the write.
  std::string run_once(std::string_view client, std::uint64_t sequence, std::string_view line) {
    api::Request request = parse_request(line);
    request.id = api::RequestId{Bytes(client), sequence};
    return to_text(run(request));
  }

  api::Response run(const api::Request& request) {
    if (auto error = Store::validate(request, Limits{}))
      return {.header = {}, .answer = *std::move(error)};
    const api::Route route = api::route_of(request);
    const bool is_write = route == api::Route::kWrite || route == api::Route::kLock;
    if (!is_write) return store.read(request);
    auto outcomes = commit(encode_command({kSelf, kIncarnation, ++call}, request));
    return std::move(outcomes.at(0).response);
  }

  // One entry with one command.
  std::vector<Outcome> commit(BytesView command) {
    BatchEncoder batch;
    batch.add(command);
    return apply(batch.finish(epoch, stamp)).outcomes;
  }

  ApplyResult apply(Bytes entry) {
    log.push_back(entry);
    auto result = store.apply(store.applied_index().next(), entry, kSelf, kIncarnation);
    CHECK(result.has_value(), "{}", result.error().message);
    return *std::move(result);
  }

  // The same log in a member whom nobody asked and at which nobody watches.
  Store elsewhere() const {
    Store other(Limits{});
    other.want_znode_news(true);
    other.want_znode_changes(false);
    for (const Bytes& entry : log) {
      const auto result = other.apply(other.applied_index().next(), entry, NodeId{1}, 0);
      CHECK(result.has_value(), "{}", result.error().message);
    }
    return other;
  }

  // Writes a snapshot in pieces of about `piece_bytes`, calling `between` after each, and loads it.
  template <class Between>
  Result<Store> through_snapshot(std::size_t piece_bytes, Between between) {
    const auto writer = store.begin_snapshot();
    SnapshotLoader loader(Limits{});
    for (Bytes piece = writer->next(piece_bytes); !piece.empty();
         piece = writer->next(piece_bytes)) {
      TRY(loader.feed(piece));
      between();
    }
    return loader.finish();
  }

  Store store;
  std::vector<Bytes> log;
  Epoch epoch{1};
  Stamp stamp{1000};
  std::uint64_t call = 0;
};

}  // namespace conclave::store
