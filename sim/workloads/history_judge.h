#pragma once
// What judges of locks have in common: the history of the keys (sim/key_history.h), and how old an
// answer may be. `asked` is the newest revision that any member had when the client asked; what it
// hears can be no older, and no newer than what there is by now. Each function throws a Finding if
// an answer does not fit.

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <utility>

#include "sim/finding.h"
#include "sim/key_history.h"

namespace conclave::sim {

class HistoryJudge {
 public:
  // Findings are of `check`.
  HistoryJudge(const KeyHistory& history, std::string check)
      : history_(history), check_(std::move(check)) {}

  const KeyHistory& history() const { return history_; }

  void fresh(const std::string& name, std::int64_t asked, std::int64_t revision) const {
    if (revision < asked || revision > history_.newest())
      throw wrong("of {} somebody is told as of revision {}, who asked at {}, and it is {} now",
                  name, revision, asked, history_.newest());
  }
  const KeyLife& life(const std::string& name, const std::string& key, std::int64_t created) const {
    const KeyLife* life = history_.life(name, key, created);
    if (life == nullptr) throw wrong("{} was not created at revision {}", key, created);
    return *life;
  }
  // Whoever waited with the key has lost it meanwhile.
  void key_lost(const std::string& name, const std::string& key, std::int64_t asked) const {
    for (const KeyLife& life : history_.lives(name)) {
      if (life.key == key && !life.is_alive() && life.ended > asked) return;
    }
    throw wrong("{} is said to be gone, and has not gone since {}", key, asked);
  }

 protected:
  template <class... Values>
  Finding wrong(fmt::format_string<Values...> format, Values&&... values) const {
    return {check_, fmt::format(format, std::forward<Values>(values)...), {}};
  }
  static std::string words(const KeyLife* life) {
    return life == nullptr ? "nobody" : fmt::format("{} of {}", life->key, life->created);
  }

 private:
  const KeyHistory& history_;
  std::string check_;
};

}  // namespace conclave::sim
