#include "store/lock_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/check.h"

namespace conclave::store {
namespace {

using api::LockMode;

constexpr BytesView kShared = "shared";
constexpr BytesView kSemaphore = "of-";

// What a key says behind the last slash.
struct Name {
  BytesView lease;
  BytesView mode;  // empty: exclusive
  BytesView owner;
};

Name parse(BytesView key) {
  const BytesView last = key.substr(key.rfind('/') + 1);
  const std::size_t dot = last.find('.');
  if (dot == BytesView::npos) return {last, {}, {}};
  const BytesView rest = last.substr(dot + 1);
  const std::size_t second = rest.find('.');
  if (second == BytesView::npos) return {last.substr(0, dot), rest, {}};
  return {last.substr(0, dot), rest.substr(0, second), rest.substr(second + 1)};
}

// How many may hold a semaphore, as the key says; 0: it is none.
std::size_t permits_of(const Name& name) {
  if (!name.mode.starts_with(kSemaphore)) return 0;
  const BytesView number = name.mode.substr(kSemaphore.size());
  std::size_t permits = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), permits);
  return error == std::errc{} && end == number.data() + number.size() ? permits : 0;
}

bool is_sharing(const Name& name) { return name.mode == kShared || permits_of(name) != 0; }

// Whether they may hold it together, as far as permits go.
bool are_alike(const Name& a, const Name& b) { return a.mode == b.mode && is_sharing(a); }

std::string mode_text(const api::AcquireRequest& request) {
  switch (request.mode) {
    case LockMode::kExclusive:
      return {};
    case LockMode::kShared:
      return std::string(kShared);
    case LockMode::kSemaphore:
      return fmt::format("{}{}", kSemaphore, request.permits);
  }
  CHECK(false, "lock mode {}", static_cast<int>(request.mode));
}

}  // namespace

Bytes lock_key(const api::AcquireRequest& request) {
  const auto digits = static_cast<std::uint64_t>(request.lease);
  const bool is_negative = request.lease < 0;
  Bytes key = fmt::format("{}/{}{:x}", request.name, is_negative ? "-" : "",
                          is_negative ? -digits : digits);
  const std::string mode = mode_text(request);
  if (mode.empty() && request.owner.empty()) return key;
  key += '.' + mode;
  if (!request.owner.empty()) key += '.' + request.owner;
  return key;
}

bool is_same_owner(BytesView key, BytesView other) {
  const Name a = parse(key);
  const Name b = parse(other);
  return a.lease == b.lease && a.owner == b.owner;
}

bool may_share(BytesView key) { return is_sharing(parse(key)); }

bool is_other_semaphore(BytesView key, BytesView other) {
  const std::size_t a = permits_of(parse(key));
  const std::size_t b = permits_of(parse(other));
  return a != 0 && b != 0 && a != b;
}

LockQueue::LockQueue(std::vector<Place> places) : places_(std::move(places)) {
  std::ranges::sort(places_, [](const Place& a, const Place& b) {
    return a.created != b.created ? a.created < b.created : a.key < b.key;
  });
}

std::optional<std::size_t> LockQueue::find(BytesView key, api::Revision created) const {
  auto at = std::ranges::lower_bound(places_, created, {}, &Place::created);
  while (at != places_.end() && at->created == created && at->key != key) ++at;
  if (at == places_.end() || at->created != created) return std::nullopt;
  return static_cast<std::size_t>(at - places_.begin());
}

std::size_t LockQueue::holders() const {
  if (places_.empty()) return 0;
  const Name first = parse(places_.front().key);
  const std::size_t permits = permits_of(first);
  const std::size_t most = permits == 0 ? places_.size() : std::min(permits, places_.size());
  std::size_t count = 1;
  while (count < most && are_alike(first, parse(places_[count].key))) ++count;
  return count;
}

// All up to the last one that is of another kind have to go, and of a semaphore's behind that so
// many that a permit is left.
std::size_t LockQueue::ahead_of(std::size_t at) const {
  const Name own = parse(places_.at(at).key);
  std::size_t others = at;
  while (others > 0 && are_alike(own, parse(places_[others - 1].key))) --others;
  const std::size_t alike = at - others;
  const std::size_t permits = permits_of(own);
  return permits != 0 && alike >= permits ? others + alike - permits + 1 : others;
}

}  // namespace conclave::store
