#include "sim/wal_world.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace conclave::sim {

WalWorld::WalWorld(std::uint64_t seed, std::uint64_t segment)
    : segment_bytes(segment), disk_(clock_, seed) {}

void WalWorld::apply(State& state, const Operation& operation) {
  auto& group = state[operation.group];
  if (operation.hard_state) group.hard_state = operation.hard_state;
  for (const auto& entry : operation.entries) {
    group.entries.erase(group.entries.lower_bound(entry.index), group.entries.end());
    group.entries[entry.index] = entry;
  }
}

WalWorld::State WalWorld::after(std::size_t operations) const {
  State state;
  for (std::size_t i = 0; i < operations; ++i) apply(state, operations_[i]);
  return state;
}

// A snapshot covers these; whether the log still has them does not matter.
WalWorld::State WalWorld::without_released(State state) const {
  for (const auto& [group, index] : released_) {
    auto& entries = state[group].entries;
    entries.erase(entries.begin(), entries.upper_bound(index));
  }
  std::erase_if(state, [](const auto& group) {
    return group.second.entries.empty() && !group.second.hard_state;
  });
  return state;
}

void WalWorld::check_replayed(const State& replayed) {
  const auto held = without_released(replayed);
  for (std::size_t n = operations_.size() + 1; n-- > acknowledged_;) {
    if (without_released(after(n)) != held) continue;
    // What was not found will never be answered: it has not happened.
    found_ = n;
    operations_.resize(n);
    acknowledged_ = n;
    return;
  }
  std::string what;
  for (const auto& [group, state] : replayed)
    what += fmt::format(" group {}: {} entries up to {};", group.value, state.entries.size(),
                        state.entries.empty() ? 0 : state.entries.rbegin()->first.value);
  CHECK(false, "{} asked, {} acknowledged, and the log holds something else:{}", operations_.size(),
        acknowledged_, what);
}

Result<void> WalWorld::open() {
  CHECK(!running());
  TRY(disk_.create_directories(kDirectory));
  State replayed;
  const wal::Replay replay{
      .on_hard_state =
          [&](GroupId group, Bytes state) {
            apply(replayed, {.group = group, .hard_state = std::move(state), .entries = {}});
          },
      .on_entry =
          [&](GroupId group, consensus::Entry entry) {
            Operation operation{.group = group, .hard_state = {}, .entries = {}};
            operation.entries.push_back(std::move(entry));
            apply(replayed, operation);
          }};
  log_ = TRY(wal::Log::open(disk_, clock_, kDirectory, identity,
                            wal::Options{.segment_bytes = segment_bytes}, replay));
  check_replayed(replayed);
  failure_.reset();
  return {};
}

void WalWorld::crash() {
  log_.reset();
  disk_.crash();
}

void WalWorld::kill() {
  log_.reset();
  disk_.kill();
}

void WalWorld::submit(Operation operation) {
  operations_.push_back(operation);
  log_->append(operation.group, std::move(operation.hard_state), std::move(operation.entries),
               [this, number = operations_.size()](Result<void> result) {
                 if (!result) {
                   failure_ = result.error();
                   return;
                 }
                 CHECK(!failure_, "acknowledged after a failure");
                 CHECK(number == acknowledged_ + 1, "answered out of order: {}", number);
                 acknowledged_ = number;
               });
}

void WalWorld::append(std::uint64_t group, std::uint64_t first, std::size_t count,
                      std::size_t bytes) {
  Operation operation{.group = GroupId{group}, .hard_state = {}, .entries = {}};
  ++epoch_;
  for (std::size_t i = 0; i < count; ++i) {
    const auto name = fmt::format("{}.{}.{}/", group, first + i, epoch_);
    Bytes data = name;
    while (data.size() < bytes) data += name;
    data.resize(bytes);
    operation.entries.push_back({.index = LogIndex{first + i},
                                 .epoch = Epoch{epoch_},
                                 .kind = consensus::EntryKind::kCommand,
                                 .data = std::move(data)});
  }
  submit(std::move(operation));
}

void WalWorld::set_hard_state(std::uint64_t group, Bytes state) {
  submit({.group = GroupId{group}, .hard_state = std::move(state), .entries = {}});
}

void WalWorld::release(std::uint64_t group, std::uint64_t index) {
  auto& released = released_[GroupId{group}];
  released = std::max(released, LogIndex{index});
  log_->release(GroupId{group}, LogIndex{index});
}

std::uint64_t WalWorld::last(std::uint64_t group) const {
  std::uint64_t last = 0;
  for (const auto& operation : operations_)
    if (operation.group.value == group && !operation.entries.empty())
      last = operation.entries.back().index.value;
  return last;
}

void WalWorld::settle() {
  const Instant end = clock_.now() + seconds(10);
  while (acknowledged_ < operations_.size() && !failure_ && clock_.now() < end)
    clock_.run_for(milliseconds(1));
}

std::vector<std::string> WalWorld::segments() {
  auto names = disk_.list(kWalDirectory);
  CHECK(names.has_value());
  std::erase_if(*names, [](const std::string& name) { return !name.ends_with(".log"); });
  return std::move(*names);
}

}  // namespace conclave::sim
