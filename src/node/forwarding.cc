#include "node/forwarding.h"

#include "base/check.h"

namespace conclave::node {

void ForwardSender::enter(Epoch epoch) {
  if (epoch == epoch_) return;
  epoch_ = epoch;
  last_number_ = 0;
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

const std::deque<ForwardSender::Frame>& ForwardSender::unanswered(Epoch epoch) {
  enter(epoch);
  return frames_;
}

ForwardReceiver::Verdict ForwardReceiver::check(Epoch epoch, NodeId from, std::uint64_t incarnation,
                                                std::uint64_t number) {
  if (epoch != epoch_) {
    epoch_ = epoch;
    last_.clear();
  }
  const auto found = last_.find({from, incarnation});
  const std::uint64_t last = found == last_.end() ? 0 : found->second;
  if (number <= last) return Verdict::kRepeated;
  return number == last + 1 ? Verdict::kNew : Verdict::kGap;
}

void ForwardReceiver::taken(NodeId from, std::uint64_t incarnation, std::uint64_t number) {
  last_[{from, incarnation}] = number;
}

}  // namespace conclave::node
