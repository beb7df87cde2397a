#pragma once
// ZooKeeper's four-letter words: what an operator or a dashboard sends instead of a session, and
// the texts that answer.

#include <vector>

#include "api/request.h"
#include "base/bytes.h"
#include "frontends/zookeeper/member_facts.h"

namespace conclave::zookeeper {

// Whether somebody who begins with these four bytes has sent a word, allowed or not.
bool is_word(BytesView four);
bool is_allowed(const WordSettings& settings, BytesView word);

// What the member has to be asked before `word` can be answered, in the order in which `Told` has
// them. None of it goes through the log.
std::vector<api::Body> questions_of(BytesView word);

// The answer. Of crst and srst: and does it.
Bytes answer_word(BytesView word, Told& told);

// What is said of one that is_allowed() says no to.
Bytes refuse_word(BytesView word);

}  // namespace conclave::zookeeper
