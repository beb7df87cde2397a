#pragma once
// Writes on their way from a follower to the leader. Links lose, repeat and reorder frames; a
// command must reach the leader's log at most once per epoch. So the frames of one origin are
// numbered within an epoch; the leader takes each number once and in order, the origin repeats what
// was not acknowledged (go-back-N). Frames for another epoch are refused, and what was sent in an
// epoch that has ended is the epoch fence's business (node/writes.h).
//
// A frame that the leader takes may still be refused, for lack of room. Nothing that was sent after
// it is taken then before the origin has heard of it: so whatever order the origin keeps among its
// commands, the log has no later one of an order without the earlier. The origin numbers anew from
// the refused frame on, and says with each frame which refusal it has heard of last. Builds from
// before this say nothing; theirs are refused one by one.
//
// Pure: no clock, no I/O.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"

namespace conclave::node {

// The origin's side: frames sent in the current epoch and not answered yet.
class ForwardSender {
 public:
  struct Frame {
    std::uint64_t number = 0;
    std::vector<std::uint64_t> calls;
    Bytes encoded;
  };

  // Numbers start again at 1 when the epoch changes; frames of earlier epochs are forgotten.
  std::uint64_t next_number(Epoch epoch);
  // REQUIRES: frame.number == next_number(epoch).
  void sent(Epoch epoch, Frame frame);
  // The number of the frame in this epoch whose refusal was heard of last; 0: none. It is part of
  // each frame.
  std::uint64_t heard(Epoch epoch);
  // The calls of frame `number`, now answered; frames before it are answered too, with their calls
  // accepted. Empty if it was answered before.
  std::vector<std::uint64_t> answered(Epoch epoch, std::uint64_t number);
  // The same, if it was refused and the leader takes none of the later ones before it is told that
  // this was heard. Those are forgotten, and their numbers are used again.
  struct Refused {
    std::vector<std::uint64_t> calls;
    std::vector<std::uint64_t> later;  // of frames behind it: not taken, and to be sent again
  };
  Refused refused(Epoch epoch, std::uint64_t number);
  // Takes the commands out of unanswered frames that nobody waits for any more: an empty frame of
  // the same number goes in their place, as numbers must not be missing.
  void empty_unwanted(Epoch epoch, const std::function<bool(std::uint64_t call)>& is_wanted,
                      const std::function<Bytes(std::uint64_t number)>& encode_empty);
  // Everything unanswered, to be sent again after a link broke or an answer stayed away.
  const std::deque<Frame>& unanswered(Epoch epoch);

 private:
  void enter(Epoch epoch);

  Epoch epoch_;
  std::uint64_t last_number_ = 0;
  std::uint64_t heard_ = 0;
  std::deque<Frame> frames_;
};

// The leader's side: which number of each origin comes next.
class ForwardReceiver {
 public:
  enum class Verdict { kNew, kRepeated, kGap };
  // What became of a frame.
  enum class Outcome { kAccepted, kNoSpace, kBusy };

  // `heard`: ForwardSender's; nullopt from builds that do not say it. A frame that was sent before
  // a refusal was heard of is a gap.
  // REQUIRES: this member leads `epoch`. Changes nothing.
  Verdict check(Epoch epoch, NodeId from, std::uint64_t incarnation, std::uint64_t number,
                std::optional<std::uint64_t> heard);
  // The frame that check() called new has been dealt with.
  void taken(NodeId from, std::uint64_t incarnation, std::uint64_t number, Outcome outcome);
  // Of a frame that check() called repeated: the origin may not have heard it the first time.
  // nullopt: too long ago to know.
  std::optional<Outcome> outcome_of(NodeId from, std::uint64_t incarnation,
                                    std::uint64_t number) const;

 private:
  struct Origin {
    std::uint64_t last = 0;
    std::uint64_t last_refused = 0;
    std::deque<std::pair<std::uint64_t, Outcome>> refused;  // not kAccepted, the newest of them
    std::uint64_t known_from = 1;  // what is not in `refused` from here on was accepted
  };
  Epoch epoch_;
  std::map<std::pair<NodeId, std::uint64_t>, Origin> origins_;
};

}  // namespace conclave::node
