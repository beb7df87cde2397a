#pragma once
// What happened in a run, as lines for people and as JSON. A run that is not traced keeps only the
// newest notes of faults and members, for the report of a failure.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace conclave::sim {

class Trace {
 public:
  enum class Kind : std::uint8_t { kFault, kMember, kMessage, kClient, kLog };

  // `now` tells the virtual time. `everything`: keep all notes, of messages, clients and logs too.
  Trace(std::function<Instant()> now, bool everything);

  // Whether a note of this kind would be kept: what is costly to say need not be said then.
  bool wants(Kind kind) const { return everything_ || kind <= Kind::kMember; }
  // `who`: a host, or "world". Bytes of `what` that cannot be printed become dots.
  void note(Kind kind, std::string who, std::string what);

  // The newest `count` notes, one line each.
  std::vector<std::string> newest(std::size_t count) const;
  std::string as_text() const;
  // One JSON object per line: {"ns", "kind", "who", "what"}.
  std::string as_json_lines() const;

 private:
  struct Note {
    Instant at;
    Kind kind;
    std::string who;
    std::string what;
  };
  static std::string line(const Note& note);

  std::function<Instant()> now_;
  bool everything_;
  std::deque<Note> notes_;
};

}  // namespace conclave::sim
