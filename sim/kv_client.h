#pragma once
// A client of the text protocol with one request under way at a time: it picks what to ask, hops
// between members when one fails it, and writes down what it asked and was told.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "io/clock.h"
#include "io/network.h"
#include "sim/history.h"

namespace conclave::sim {

struct KvClientOptions {
  std::uint64_t id = 0;
  std::uint64_t seed = 0;
  std::size_t keys = 5;
  std::size_t operations = 100;
  std::vector<io::Address> members;
  Duration timeout = seconds(10);  // then the connection is given up and the fate unknown
};

class KvClient {
 public:
  // Clock and network outlive the client.
  KvClient(KvClientOptions options, io::Clock& clock, io::Network& network);
  ~KvClient();

  // Has asked everything it was to ask.
  bool done() const;
  const History& history() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace conclave::sim
