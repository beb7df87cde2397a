#include "store/request_ids.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "store/codec.h"
#include "store/hash.h"

namespace conclave::store {
namespace {

using Answer = RequestIds::Answer;
using Client = RequestIds::Client;

// The client without its answers; they have hashes of their own, so that adding one is cheap.
std::uint64_t hash_of(BytesView name, const Client& client) {
  const std::uint64_t words[] = {hash_bytes(name), client.last_use,
                                 client.forgotten.has_value() ? 1u : 0u,
                                 client.forgotten.value_or(0)};
  return hash_words(words);
}

std::uint64_t hash_of(BytesView name, const Answer& answer) {
  const std::uint64_t words[] = {hash_bytes(name), answer.sequence, answer.response ? 1u : 0u,
                                 answer.response ? hash_bytes(*answer.response) : 0};
  return hash_words(words);
}

std::uint64_t size_of(const Answer& answer) {
  return answer.response ? answer.response->size() : 0;
}

auto place_of(auto& answers, std::uint64_t sequence) {
  return std::ranges::lower_bound(answers, sequence, {}, &Answer::sequence);
}

}  // namespace

RequestIds::Lookup RequestIds::find(BytesView client, std::uint64_t sequence) const {
  const auto entry = clients_.find(client);
  if (entry == clients_.end()) return {};
  const auto& answers = entry->second.answers;
  const auto answer = place_of(answers, sequence);
  if (answer != answers.end() && answer->sequence == sequence) {
    if (!answer->response) return {Known::kTooOld, nullptr};
    return {Known::kAnswered, &*answer->response};
  }
  const auto& forgotten = entry->second.forgotten;
  if (forgotten && sequence <= *forgotten) return {Known::kTooOld, nullptr};
  return {};
}

void RequestIds::record(BytesView name, std::uint64_t sequence, Bytes response) {
  auto entry = clients_.find(name);
  if (entry == clients_.end()) {
    entry = clients_.emplace(Bytes(name), Client{}).first;
    entry->second.last_use = ++uses_;
    by_last_use_.emplace(uses_, entry);
    sum_ += hash_of(name, entry->second);
  } else {
    touch(entry);
  }

  Client& client = entry->second;
  Answer answer{.sequence = sequence, .response = std::nullopt};
  if (response.size() <= kOneAnswerBytes) answer.response = std::move(response);
  sum_ += hash_of(name, answer);
  response_bytes_ += size_of(answer);
  client.answers.insert(place_of(client.answers, sequence), std::move(answer));
  if (client.answers.size() > limits::kRequestIdsPerClient) forget_oldest_answer(name, client);

  while (clients_.size() > limits::kRequestIdClients || response_bytes_ > kAnswerBytes) {
    const Clients::iterator oldest = by_last_use_.begin()->second;
    CHECK(oldest != entry, "one client's answers exceed what all may have");
    forget_client(oldest);
  }
}

void RequestIds::touch(Clients::iterator entry) {
  preserve(*entry);
  Client& client = entry->second;
  sum_ -= hash_of(entry->first, client);
  auto node = by_last_use_.extract(client.last_use);
  client.last_use = ++uses_;
  node.key() = client.last_use;
  by_last_use_.insert(by_last_use_.end(), std::move(node));
  sum_ += hash_of(entry->first, client);
}

// REQUIRES: the client was touched, so that a snapshot has what it needs.
void RequestIds::forget_oldest_answer(BytesView name, Client& client) {
  sum_ -= hash_of(name, client);
  sum_ -= hash_of(name, client.answers.front());
  response_bytes_ -= size_of(client.answers.front());
  client.forgotten = client.answers.front().sequence;
  client.answers.pop_front();
  sum_ += hash_of(name, client);
}

void RequestIds::forget_client(Clients::iterator entry) {
  preserve(*entry);
  sum_ -= hash_of(entry->first, entry->second);
  for (const Answer& answer : entry->second.answers) {
    sum_ -= hash_of(entry->first, answer);
    response_bytes_ -= size_of(answer);
  }
  by_last_use_.erase(entry->second.last_use);
  clients_.erase(entry);
}

void RequestIds::begin_snapshot() {
  CHECK(!snapshot_);
  snapshot_ = SnapshotView{.uses = uses_, .before = {}};
}

void RequestIds::end_snapshot() { snapshot_.reset(); }

// The first time that a client changes under a snapshot its state is copied; its last use tells
// whether it has.
void RequestIds::preserve(const Clients::value_type& entry) {
  if (!snapshot_ || entry.second.last_use > snapshot_->uses) return;
  const bool is_first = snapshot_->before.insert(entry).second;
  CHECK(is_first);
}

const RequestIds::Clients::value_type* RequestIds::next_in_snapshot(
    const std::optional<Bytes>& after) const {
  CHECK(snapshot_.has_value());
  const auto following = [&](const Clients& clients) {
    return after ? clients.upper_bound(*after) : clients.begin();
  };
  const auto changed = following(snapshot_->before);
  auto same = following(clients_);
  while (same != clients_.end() && same->second.last_use > snapshot_->uses) ++same;
  const bool has_changed = changed != snapshot_->before.end();
  const bool has_same = same != clients_.end();
  if (has_changed && (!has_same || changed->first < same->first)) return &*changed;
  return has_same ? &*same : nullptr;
}

bool RequestIds::restore(Bytes name, Client client) {
  const auto out_of_order = [](const Answer& a, const Answer& b) {
    return a.sequence >= b.sequence;
  };
  if (std::ranges::adjacent_find(client.answers, out_of_order) != client.answers.end())
    return false;
  const auto [entry, is_new] = clients_.emplace(std::move(name), std::move(client));
  if (!is_new) return false;
  if (!by_last_use_.emplace(entry->second.last_use, entry).second) return false;
  sum_ += hash_of(entry->first, entry->second);
  for (const Answer& answer : entry->second.answers) {
    sum_ += hash_of(entry->first, answer);
    response_bytes_ += size_of(answer);
  }
  return true;
}

}  // namespace conclave::store
