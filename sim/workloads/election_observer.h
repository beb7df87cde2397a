#pragma once
// A client that observes an election, over as many streams as it takes. Judged as it hears:
//
//   true      who is said to lead leads at the revision of the answer, with that value
//   ordered   no leader and no value is older than one before it, not even over a new stream
//   unique    none comes twice over one stream
//   whole     of a leader that was named everything that it proclaimed from there on comes, as long
//             as nothing of it is compacted
//   present   a new stream begins with nothing older than when it was opened

#include <cstdint>
#include <string>
#include <utility>

#include "sim/stream_client.h"
#include "sim/workload.h"
#include "sim/workloads/lock_judge.h"

namespace conclave::sim {

class ElectionObserver {
 public:
  ElectionObserver(Site& site, std::string election, std::uint64_t seed, std::size_t number);
  ~ElectionObserver();
  ElectionObserver(const ElectionObserver&) = delete;
  ElectionObserver& operator=(const ElectionObserver&) = delete;

  // Opens a stream, to any member, instead of the one it has.
  void open();
  // From now on only a stream that breaks is opened again, and not one on which nothing comes.
  void trust();
  void close();

  // Has it heard of the value that was put at this revision, or of a later one?
  bool has_heard_of(std::int64_t revision) const { return last_.second >= revision; }
  std::uint64_t heard() const { return heard_; }
  const std::string& name() const { return name_; }

 private:
  using News = std::pair<std::int64_t, std::int64_t>;  // create and mod revision

  void told(BytesView message);
  void check_whole(const News& news) const;
  void listen();

  Site& site_;
  LockJudge judge_;
  std::string election_;
  std::string name_;
  std::int64_t opened_ = 0;  // the newest revision there was when the stream was opened
  News last_;                // over all streams
  bool is_first_ = true;     // nothing has come over this stream
  bool trusts_ = false;
  std::uint64_t heard_ = 0;
  std::uint64_t heard_before_ = 0;  // when silence was looked for last
  io::Clock::TimerId silence_ = 0;
  StreamClient client_;
};

}  // namespace conclave::sim
