#pragma once
// Answers to writes that carried a client's own id, so that a write that is sent again is not
// applied again.
//
// Part of the replicated state: the same writes leave the same answers on every member. For each
// client the answers to its kRequestIdsPerClient highest sequences are kept. A sequence at or below
// the highest one forgotten that way is "too old": whether it was applied is no longer known, so it
// is refused. Sequences may come in any order within that window, and may have gaps.
//
// Bounds: kRequestIdClients clients and kAnswerBytes bytes of answers; beyond either, the clients
// whose last applied write is the longest ago are forgotten as a whole. An answer above
// kOneAnswerBytes is not kept: its id is known to be used, and a retry is told that the answer is
// gone.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>

#include "base/bytes.h"
#include "base/limits.h"

namespace conclave::store {

class RequestIds {
 public:
  static constexpr std::uint64_t kAnswerBytes = 128 * limits::kMiB;
  static constexpr std::size_t kOneAnswerBytes = 1 * limits::kMiB;

  struct Answer {
    std::uint64_t sequence = 0;
    std::optional<Bytes> response;  // encoded; nullopt if it was too large to keep
  };

  struct Client {
    std::uint64_t last_use = 0;  // the use that was its last, counting over all clients
    std::optional<std::uint64_t>
        forgotten;               // the highest sequence whose answer was dropped for a higher one
    std::deque<Answer> answers;  // by sequence
  };
  using Clients = std::map<Bytes, Client, std::less<>>;

  enum class Known : std::uint8_t {
    kNew,       // apply it, then record() its answer
    kAnswered,  // answer it with *response
    kTooOld,    // refuse it
  };
  struct Lookup {
    Known known = Known::kNew;
    const Bytes* response = nullptr;  // valid until the next record()
  };
  Lookup find(BytesView client, std::uint64_t sequence) const;

  // REQUIRES: find() says kNew.
  void record(BytesView client, std::uint64_t sequence, Bytes response);

  // The sum of the hashes of everything kept.
  std::uint64_t sum() const { return sum_; }
  std::uint64_t uses() const { return uses_; }
  std::uint64_t size_bytes() const { return response_bytes_; }
  std::size_t client_count() const { return clients_.size(); }

  // --- snapshots: the state as it was at begin_snapshot(), although record() goes on ---

  void begin_snapshot();
  void end_snapshot();
  // The first client after `after` (from the start if nullopt) as it was then; nullptr at the end.
  // Valid until the next record().
  const Clients::value_type* next_in_snapshot(const std::optional<Bytes>& after) const;

  // Puts a client of a snapshot back. False if it cannot be one: twice there, or its answers are
  // out of order.
  bool restore(Bytes name, Client client);
  void restore_uses(std::uint64_t uses) { uses_ = uses; }

 private:
  struct SnapshotView {
    std::uint64_t uses = 0;  // clients last used up to here are as they were
    // Those that changed since, as they were then.
    Clients before;
  };

  void preserve(const Clients::value_type& entry);
  void forget_oldest_answer(BytesView name, Client& client);
  void forget_client(Clients::iterator entry);
  void touch(Clients::iterator entry);

  Clients clients_;
  std::map<std::uint64_t, Clients::iterator> by_last_use_;
  std::uint64_t uses_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t response_bytes_ = 0;
  std::optional<SnapshotView> snapshot_;
};

}  // namespace conclave::store
