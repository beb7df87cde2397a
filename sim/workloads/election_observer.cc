#include "sim/workloads/election_observer.h"

#include <fmt/core.h>

#include "base/check.h"
#include "sim/finding.h"

namespace conclave::sim {
namespace {

// A stream on which nothing came for so long is given up: its member may have crashed behind a cut.
constexpr Duration kSilence = seconds(4);

template <class... Values>
Finding wrong(fmt::format_string<Values...> format, Values&&... values) {
  return {"locks", fmt::format(format, std::forward<Values>(values)...), {}};
}

}  // namespace

ElectionObserver::ElectionObserver(Site& site, std::string election, std::uint64_t seed,
                                   std::size_t number)
    : site_(site),
      judge_(*site.lock_keys),
      election_(std::move(election)),
      name_(fmt::format("ko{}", number)),
      client_(
          "/v3electionpb.Election/Observe", seed, site.members, site.clock, site.fabric.host(name_),
          [this](BytesView message) { told(message); }, [this] { open(); }) {}

ElectionObserver::~ElectionObserver() { site_.clock.cancel(silence_); }

void ElectionObserver::open() {
  if (silence_ == 0) listen();
  is_first_ = true;
  opened_ = judge_.history().newest();
  v3electionpb::LeaderRequest request;
  request.set_name(election_);
  client_.open(request, false);
}

void ElectionObserver::trust() {
  trusts_ = true;
  open();
}

void ElectionObserver::close() {
  site_.clock.cancel(silence_);
  client_.close();
}

void ElectionObserver::listen() {
  silence_ = site_.clock.after(kSilence, [this] {
    if (trusts_) return;
    if (std::exchange(heard_before_, heard_) == heard_) open();
    listen();
  });
}

void ElectionObserver::told(BytesView message) {
  v3electionpb::LeaderResponse response;
  const bool is_sound = response.ParseFromArray(message.data(), static_cast<int>(message.size()));
  CHECK(is_sound, "a member sent what is no answer");
  if (site_.trace.wants(Trace::Kind::kClient))
    site_.trace.note(Trace::Kind::kClient, name_, "is told " + response.ShortDebugString());
  ++heard_;
  judge_.led_by(election_, is_first_ ? opened_ : 0, response);
  const News news{response.kv().create_revision(), response.kv().mod_revision()};
  if (news < last_ || (!is_first_ && news == last_))
    throw wrong("{} is told of the leader of {} and its value of {}, after those of {} and {}",
                name_, news.first, news.second, last_.first, last_.second);
  if (!is_first_) check_whole(news);
  is_first_ = false;
  last_ = news;
}

// Is there anything between the last news and these that it should have been told?
void ElectionObserver::check_whole(const News& news) const {
  if (site_.compaction_sent >= last_.second) return;
  for (const KeyLife& life : judge_.history().lives(election_)) {
    if (life.created != last_.first) continue;
    for (const auto& [revision, value] : life.puts) {
      const bool is_between = revision > last_.second && revision < news.second;
      if (is_between)
        throw wrong("{} is told of revision {} after {}, and not that {} proclaimed {} at {}",
                    name_, news.second, last_.second, life.key, value, revision);
    }
  }
}

}  // namespace conclave::sim
