#include "sim/storm.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>
#include <utility>

#include "sim/finding.h"
#include "sim/medium.h"
#include "sim/rot_places.h"
#include "sim/workload.h"

namespace conclave::sim {
namespace {

const std::string kLogDirectory = "/data/wal";
// How often supervisors and the operator look after the members.
constexpr Duration kTendEvery = milliseconds(700);
// A fault that waits for its time.
constexpr Duration kTryAgain = milliseconds(500);

constexpr std::uint64_t kMostPpm = 300'000;
static_assert(1 + static_cast<double>(kMostPpm) / 1e6 < kFastestClock);

// Mostly what real clocks do, sometimes far more.
std::int64_t draw_ppm(Rng& rng) {
  const std::uint64_t most = rng.one_in(2) ? 500 : kMostPpm;
  return static_cast<std::int64_t>(rng.below(2 * most + 1)) - static_cast<std::int64_t>(most);
}

std::vector<std::pair<std::size_t, std::size_t>> both_ways(std::size_t a, std::size_t b) {
  return {{a, b}, {b, a}};
}

}  // namespace

Storm::Storm(const Plan& plan, Cluster& cluster, ClusterCheck& check, Trace& trace)
    : plan_(plan),
      cluster_(cluster),
      trace_(trace),
      operator_(cluster, check, trace),
      held_down_(cluster.size()),
      start_due_(cluster.size()) {}

void Storm::note(const std::string& who, const std::string& what) {
  trace_.note(Trace::Kind::kFault, who, what);
}

// --- from the first start to the calm ------------------------------------------------------------

void Storm::begin() {
  cluster_.on_stopped = [this](std::size_t member, const Error& why) {
    note(Cluster::host(member), "stopped by itself: " + why.message);
    ++counts_["stopped by itself"];
  };
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    cluster_.disk(i).set_latency(io::Lane::kLog, plan_.log_latency);
    start(i);
    cluster_.disk(i).set_faults(plan_.disks);
  }
  cluster_.fabric().set_faults(plan_.links);
  cluster_.fabric().set_client_faults(plan_.clients);
  cluster_.clock().after(kTendEvery, [this] { tend(); });
  for (std::size_t i = 0; i < plan_.faults.size(); ++i) {
    cluster_.clock().after(plan_.faults[i].at, [this, i] { strike(i); });
  }
}

bool Storm::waits_for_its_time(FaultKind kind) {
  return kind == FaultKind::kMembers || kind == FaultKind::kLoseDisk || kind == FaultKind::kRot ||
         kind == FaultKind::kMisdirect;
}

void Storm::strike(std::size_t number) {
  if (over_) return;
  const Fault& fault = plan_.faults[number];
  Rng rng(fault.seed);
  std::optional<std::function<void()>> undo = carry_out(fault, rng);
  if (!undo) {
    if (waits_for_its_time(fault.kind)) {
      cluster_.clock().after(kTryAgain, [this, number] { strike(number); });
    }
    return;
  }
  ++counts_[std::string(name_of(fault.kind))];
  if (!*undo) return;
  lasting_.emplace(number, std::move(*undo));
  cluster_.clock().after(fault.lasts, [this, number] {
    const auto lasting = lasting_.extract(number);
    if (!lasting.empty()) lasting.mapped()();
  });
}

void Storm::end() {
  over_ = true;
  note("world", "the storm is over: all is healed");
  cluster_.fabric().heal();
  cluster_.fabric().set_faults({});
  cluster_.fabric().set_client_faults({});
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    cluster_.disk(i).set_faults({});
    cluster_.disk(i).set_latency(io::Lane::kLog, {});
    cluster_.disk(i).forget_scripted();
  }
  for (auto& [number, undo] : std::exchange(lasting_, {})) undo();
  operator_.look_for_damage();
  for (std::size_t i = 0; i < cluster_.size(); ++i) start_soon(i, {});
}

// --- the faults ----------------------------------------------------------------------------------

std::optional<std::function<void()>> Storm::carry_out(const Fault& fault, Rng& rng) {
  const std::size_t member = pick(rng);
  const std::vector<std::size_t> order = shuffled(rng);
  const std::size_t size = cluster_.size();
  const auto first = [&](std::size_t count) {
    return std::vector<std::size_t>(order.begin(),
                                    order.begin() + static_cast<std::ptrdiff_t>(count));
  };
  switch (fault.kind) {
    case FaultKind::kCrash:
      return crash({member}, true);
    case FaultKind::kKill:
      return crash({member}, false);
    case FaultKind::kCrashSeveral:
      return crash(first(rng.one_in(2) ? size : size / 2 + 1), true);
    case FaultKind::kCrashInWrite: {
      Disk& disk = cluster_.disk(member);
      const std::uint64_t calls = rng.below(30);
      note(Cluster::host(member), fmt::format("power goes after {} more disk calls", calls));
      disk.stop_before(disk.calls() + calls);
      return [this, member] { crash({member}, true)(); };
    }
    case FaultKind::kCutOneWay: {
      if (size < 2) return std::nullopt;
      return cut({{order[0], order[1]}});
    }
    case FaultKind::kCutBoth: {
      if (size < 2) return std::nullopt;
      return cut(both_ways(order[0], order[1]));
    }
    case FaultKind::kIsolate: {
      std::vector<std::pair<std::size_t, std::size_t>> links;
      for (std::size_t other = 0; other < size; ++other) {
        if (other == member) continue;
        links.emplace_back(member, other);
        links.emplace_back(other, member);
      }
      return cut(links);
    }
    case FaultKind::kHalves: {
      std::vector<std::pair<std::size_t, std::size_t>> links;
      for (std::size_t a = 0; a < size / 2; ++a) {
        for (std::size_t b = size / 2; b < size; ++b) {
          links.emplace_back(order[a], order[b]);
          links.emplace_back(order[b], order[a]);
        }
      }
      return cut(links);
    }
    case FaultKind::kSmallOnly:
      if (size < 2) return std::nullopt;
      return small_only(order[0], order[1], 64 + rng.below(2'000));
    case FaultKind::kBadLink:
      if (size < 2) return std::nullopt;
      return bad_link(order[0], order[1], rng);
    case FaultKind::kBreak:
      note(Cluster::host(member), "its connections break");
      cluster_.fabric().reset(Cluster::host(member));
      return std::function<void()>();
    case FaultKind::kPause:
      if (!cluster_.running(member) || cluster_.paused(member)) return std::nullopt;
      note(Cluster::host(member), "paused");
      cluster_.pause(member);
      return [this, member] {
        note(Cluster::host(member), "goes on");
        cluster_.resume(member);
      };
    case FaultKind::kClockRate: {
      const std::int64_t ppm = draw_ppm(rng);
      note(Cluster::host(member), fmt::format("its clock is off by {} ppm", ppm));
      cluster_.set_clock_rate(member, ppm);
      cluster_.set_wall_rate(member, draw_ppm(rng));
      return [this, member] {
        note(Cluster::host(member), "its clock is right");
        cluster_.set_clock_rate(member, 0);
        cluster_.set_wall_rate(member, 0);
      };
    }
    case FaultKind::kWallJump: {
      const auto ms = static_cast<std::int64_t>(rng.below(7'200'000)) - 3'600'000;
      note(Cluster::host(member), fmt::format("its time of day jumps by {} ms", ms));
      cluster_.jump_wall(member, ms);
      return std::function<void()>();
    }
    case FaultKind::kDiskHang: {
      const io::Lane lane = rng.one_in(3) ? io::Lane::kSnapshot : io::Lane::kLog;
      note(Cluster::host(member),
           lane == io::Lane::kLog ? "its log's disk hangs" : "its snapshots' disk hangs");
      cluster_.disk(member).hang(lane, fault.lasts);
      return std::function<void()>();
    }
    case FaultKind::kDiskError:
      return disk_error(member, rng);
    case FaultKind::kDiskFull: {
      Disk& disk = cluster_.disk(member);
      note(Cluster::host(member), "its disk is full");
      disk.set_capacity(disk.used_bytes() + rng.below(64 * 1024));
      return [this, member] {
        note(Cluster::host(member), "its disk has room");
        cluster_.disk(member).set_capacity(0);
      };
    }
    case FaultKind::kMoveLeader:
      if (!operator_.move_leader(rng)) return std::nullopt;
      return std::function<void()>();
    case FaultKind::kMembers:
      if (!operator_.change_members(rng)) return std::nullopt;
      return std::function<void()>();
    case FaultKind::kLoseDisk:
      if (!operator_.may_lose_disk(member)) return std::nullopt;
      operator_.lose_disk(member);
      start_soon(member, milliseconds(100));
      return std::function<void()>();
    case FaultKind::kRot:
      if (!operator_.may_damage(member) || !rot(member, rng)) return std::nullopt;
      return std::function<void()>();
    case FaultKind::kMisdirect:
      if (!operator_.may_damage(member)) return std::nullopt;
      note(Cluster::host(member), "a write of its log will have landed elsewhere");
      cluster_.disk(member).misdirect_write(kLogDirectory, kSectorBytes * rng.between(1, 64));
      operator_.damaged(member);
      return std::function<void()>();
    case FaultKind::kHandOver:
      if (!cluster_.running(member)) return std::nullopt;
      return hand_over(member);
  }
  std::unreachable();
}

std::function<void()> Storm::crash(std::vector<std::size_t> members, bool power) {
  for (const std::size_t member : members) {
    note(Cluster::host(member), power ? "power cut" : "killed");
    hold_down(member);
    if (!cluster_.running(member)) continue;
    if (power) {
      cluster_.crash(member);
    } else {
      cluster_.kill(member);
    }
  }
  return [this, members] {
    for (const std::size_t member : members) release(member);
  };
}

std::function<void()> Storm::cut(std::vector<std::pair<std::size_t, std::size_t>> links) {
  for (const auto& [from, to] : links) {
    note("world", fmt::format("cut from {} to {}", Cluster::host(from), Cluster::host(to)));
    cluster_.fabric().cut(Cluster::host(from), Cluster::host(to));
  }
  return [this, links] {
    for (const auto& [from, to] : links) heal_link(from, to)();
  };
}

std::optional<std::function<void()>> Storm::disk_error(std::size_t member, Rng& rng) {
  constexpr DiskCall kCalls[] = {DiskCall::kWrite, DiskCall::kSync,
                                 DiskCall::kRead,  DiskCall::kPreallocate,
                                 DiskCall::kNames, DiskCall::kSyncDirectory};
  const DiskCall call = kCalls[rng.below(std::size(kCalls))];
  const bool in_log = rng.one_in(2);
  note(Cluster::host(member), fmt::format("disk call of kind {} fails next{}",
                                          static_cast<int>(call), in_log ? " in the log" : ""));
  cluster_.disk(member).fail_next(call, in_log ? kLogDirectory : "/data", ErrorCode::kIo);
  return std::function<void()>();
}

bool Storm::rot(std::size_t member, Rng& rng) {
  Disk& disk = cluster_.disk(member);
  const std::optional<RotPlace> place = pick_rot_place(disk, rng);
  if (!place) return false;
  note(Cluster::host(member), fmt::format("a bit of {} rots at {}", place->path, place->offset));
  disk.rot(place->path, place->offset);
  operator_.damaged(member);
  return true;
}

std::function<void()> Storm::small_only(std::size_t from, std::size_t to, std::size_t bytes) {
  note("world", fmt::format("from {} to {} only messages up to {} bytes pass", Cluster::host(from),
                            Cluster::host(to), bytes));
  cluster_.fabric().cut_large(Cluster::host(from), Cluster::host(to), bytes);
  return heal_link(from, to);
}

std::function<void()> Storm::bad_link(std::size_t from, std::size_t to, Rng& rng) {
  LinkFaults faults = plan_.links;
  faults.longest = milliseconds(static_cast<std::int64_t>(rng.between(1, 400)));
  faults.lost = static_cast<std::uint32_t>(rng.below(600));
  faults.bytes_per_second = rng.between(20'000, 1'000'000);
  note("world", fmt::format("bad link from {} to {}: {} ms, {} of 1000 lost, {} bytes/s",
                            Cluster::host(from), Cluster::host(to), faults.longest.ms(),
                            faults.lost, faults.bytes_per_second));
  cluster_.fabric().set_link_faults(Cluster::host(from), Cluster::host(to), faults);
  return heal_link(from, to);
}

std::function<void()> Storm::heal_link(std::size_t from, std::size_t to) {
  return [this, from, to] {
    note("world", fmt::format("healed from {} to {}", Cluster::host(from), Cluster::host(to)));
    cluster_.fabric().heal(Cluster::host(from), Cluster::host(to));
  };
}

std::function<void()> Storm::hand_over(std::size_t member) {
  note(Cluster::host(member), "told to stop");
  hold_down(member);
  cluster_.resume(member);
  cluster_.stop(member);
  return [this, member] {
    if (cluster_.running(member)) cluster_.kill(member);
    release(member);
  };
}

// --- members -------------------------------------------------------------------------------------

std::size_t Storm::pick(Rng& rng) const {
  const std::size_t any = rng.below(cluster_.size());
  const bool the_leader = rng.one_in(3);
  return the_leader ? cluster_.leader().value_or(any) : any;
}

std::vector<std::size_t> Storm::shuffled(Rng& rng) const {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    const auto at = static_cast<std::ptrdiff_t>(rng.below(i + 1));
    order.insert(order.begin() + at, i);
  }
  return order;
}

void Storm::know_all_hosts() {
  held_down_.resize(cluster_.size());
  start_due_.resize(cluster_.size());
}

void Storm::hold_down(std::size_t member) {
  know_all_hosts();
  ++held_down_[member];
}

void Storm::release(std::size_t member) {
  --held_down_[member];
  start_soon(member, {});
}

void Storm::start_soon(std::size_t member, Duration delay) {
  know_all_hosts();
  if (start_due_[member]) return;
  start_due_[member] = true;
  cluster_.clock().after(delay, [this, member] {
    start_due_[member] = false;
    const bool up = cluster_.running(member) || cluster_.joining(member);
    if (held_down_[member] == 0 && !up) start(member);
  });
}

void Storm::start(std::size_t member) {
  const std::optional<Result<void>> started = operator_.start(member);
  if (!started) return;
  const std::string host = Cluster::host(member);
  if (*started) {
    note(host, "starts");
    if (over_) operator_.unharmed(member);
    return;
  }
  const Error& why = started->error();
  note(host, "does not start: " + why.message);
  ++counts_["refused to start"];
  // When its disk failed it meanwhile, a supervisor tries again; damage is the operator's business.
  if (why.code == ErrorCode::kIo || why.code == ErrorCode::kNoSpace) return;
  if (operator_.is_damaged(member) || why.code == ErrorCode::kRemoved) return;
  found("recovery", host + " does not start: " + why.message);
}

// What a supervisor on each machine and the operator do all the time.
void Storm::tend() {
  know_all_hosts();
  operator_.tend();
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    if (held_down_[i] == 0 && !cluster_.running(i) && !cluster_.joining(i)) start(i);
  }
  cluster_.clock().after(kTendEvery, [this] { tend(); });
}

}  // namespace conclave::sim
