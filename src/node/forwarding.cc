#include "node/forwarding.h"

#include <algorithm>

#include "base/check.h"

namespace conclave::node {

void ForwardSender::enter(Epoch epoch) {
  if (epoch == epoch_) return;
  epoch_ = epoch;
  last_number_ = 0;
  heard_ = 0;
  frames_.clear();
}

std::uint64_t ForwardSender::next_number(Epoch epoch) {
  enter(epoch);
  return last_number_ + 1;
}

void ForwardSender::sent(Epoch epoch, Frame frame) {
  CHECK(epoch == epoch_);
  CHECK(frame.number == last_number_ + 1);
  last_number_ = frame.number;
  frames_.push_back(std::move(frame));
}

std::vector<std::uint64_t> ForwardSender::answered(Epoch epoch, std::uint64_t number) {
  if (epoch != epoch_) return {};
  while (!frames_.empty() && frames_.front().number < number) frames_.pop_front();
  if (frames_.empty() || frames_.front().number != number) return {};
  std::vector<std::uint64_t> calls = std::move(frames_.front().calls);
  frames_.pop_front();
  return calls;
}

std::uint64_t ForwardSender::heard(Epoch epoch) {
  enter(epoch);
  return heard_;
}

ForwardSender::Refused ForwardSender::refused(Epoch epoch, std::uint64_t number) {
  Refused refused{.calls = answered(epoch, number), .later = {}};
  // A repetition: what is unanswered now was sent after it had been heard of.
  if (epoch != epoch_ || number <= heard_) return refused;
  for (const Frame& frame : frames_) {
    refused.later.insert(refused.later.end(), frame.calls.begin(), frame.calls.end());
  }
  frames_.clear();
  heard_ = last_number_ = number;
  return refused;
}

const std::deque<ForwardSender::Frame>& ForwardSender::unanswered(Epoch epoch) {
  enter(epoch);
  return frames_;
}

void ForwardSender::empty_unwanted(Epoch epoch,
                                   const std::function<bool(std::uint64_t call)>& is_wanted,
                                   const std::function<Bytes(std::uint64_t number)>& encode_empty) {
  enter(epoch);
  for (Frame& frame : frames_) {
    if (frame.calls.empty() || std::ranges::any_of(frame.calls, is_wanted)) continue;
    frame.calls.clear();
    frame.encoded = encode_empty(frame.number);
  }
}

ForwardReceiver::Verdict ForwardReceiver::check(Epoch epoch, NodeId from, std::uint64_t incarnation,
                                                std::uint64_t number,
                                                std::optional<std::uint64_t> heard) {
  if (epoch != epoch_) {
    epoch_ = epoch;
    origins_.clear();
  }
  const auto found = origins_.find({from, incarnation});
  const std::uint64_t last = found == origins_.end() ? 0 : found->second.last;
  if (number <= last) return Verdict::kRepeated;
  if (heard && found != origins_.end() && *heard < found->second.last_refused) return Verdict::kGap;
  return number == last + 1 ? Verdict::kNew : Verdict::kGap;
}

void ForwardReceiver::taken(NodeId from, std::uint64_t incarnation, std::uint64_t number,
                            Outcome outcome) {
  constexpr std::size_t kKept = 10'000;
  Origin& origin = origins_[{from, incarnation}];
  origin.last = number;
  if (outcome == Outcome::kAccepted) return;
  origin.last_refused = number;
  origin.refused.emplace_back(number, outcome);
  if (origin.refused.size() <= kKept) return;
  origin.known_from = origin.refused.front().first + 1;
  origin.refused.pop_front();
}

std::optional<ForwardReceiver::Outcome> ForwardReceiver::outcome_of(NodeId from,
                                                                    std::uint64_t incarnation,
                                                                    std::uint64_t number) const {
  const auto found = origins_.find({from, incarnation});
  if (found == origins_.end() || number < found->second.known_from) return std::nullopt;
  const auto& refused = found->second.refused;
  const auto at =
      std::ranges::lower_bound(refused, number, {}, [](const auto& entry) { return entry.first; });
  return at != refused.end() && at->first == number ? at->second : Outcome::kAccepted;
}

}  // namespace conclave::node
