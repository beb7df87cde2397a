#pragma once
// ZooKeeper's four-letter words: what an operator or a dashboard sends instead of a session, and
// the texts that answer.

#include <cstdint>
#include <string>
#include <vector>

#include "api/request.h"
#include "api/zookeeper.h"
#include "base/bytes.h"
#include "frontends/zookeeper/connections.h"

namespace conclave::zookeeper {

// What is the same for all connections of a member, for as long as it runs.
struct WordSettings {
  std::string conclave_version = "0.1.0";
  std::uint16_t port = 0;         // 0: none without TLS
  std::uint16_t secure_port = 0;  // 0: none with
  std::string data_dir;
  std::size_t max_per_address = 0;
  // The words that are answered; "*": all. ZooKeeper's own default is `srvr` alone.
  std::vector<std::string> allowed = {"conf", "cons", "envi", "isro", "mntr",
                                      "ruok", "srvr", "stat", "wchs"};
};

// What the process knows of itself.
struct ProcessFacts {
  std::uint64_t uptime_ms = 0;
  std::uint64_t open_files = 0;
  std::uint64_t max_files = 0;
};

// Whether somebody who begins with these four bytes has sent a word, allowed or not.
bool is_word(BytesView four);
bool is_allowed(const WordSettings& settings, BytesView word);

// What the member has to be asked before `word` can be answered, in the order in which `Told` has
// them. None of it goes through the log.
std::vector<api::Body> questions_of(BytesView word);

struct Told {
  const WordSettings& settings;
  ProcessFacts process;
  Connections& connections;
  std::vector<api::Response> answers;
};
// The answer. Of crst and srst: and does it.
Bytes answer_word(BytesView word, Told& told);

// What is said of one that is_allowed() says no to.
Bytes refuse_word(BytesView word);

}  // namespace conclave::zookeeper
