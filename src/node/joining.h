#pragma once
// Joining a cluster that is there, with an empty data directory (--initial-cluster-state existing):
// the others are asked in turn who the members are, until one of them knows this member, which was
// added there before. What it says is checked against what this member was told by its flags.
//
// Threading: the loop.

#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "io/clock.h"
#include "io/network.h"
#include "node/options.h"

namespace conclave::node {

class Joining {
 public:
  // `options.members` is the initial cluster by the flags, ids aside; `own_urls` are this member's.
  // Calls `done` once, from the loop, with options that Node::start() can take, or with why not:
  //   kMismatch  the cluster's members are others; this member is not among them; or it was here
  //              with data already, and has lost it
  //   kIo        nobody answered within a few seconds
  // Clock and network outlive the Joining.
  Joining(Options options, std::vector<std::string> own_urls, io::Clock& clock,
          io::Network& network, std::move_only_function<void(Result<Options>)> done);
  ~Joining();

 private:
  struct Attempt;

  void ask_next();
  void answered(const Result<Bytes>& answer);
  Result<Options> options_from(const Bytes& answer) const;
  void finish(Result<Options> result);

  Options options_;
  std::vector<std::string> own_urls_;
  io::Clock& clock_;
  io::Network& network_;
  std::move_only_function<void(Result<Options>)> done_;
  std::vector<io::Address> addresses_;
  std::size_t next_ = 0;
  Instant deadline_;
  Error last_;  // why the last one asked was of no use
  io::Clock::TimerId timer_ = 0;
  std::unique_ptr<Attempt> attempt_;
};

}  // namespace conclave::node
