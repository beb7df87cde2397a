// Replays what a real etcd 3.4 was asked and what it answered (testdata/record_etcd.py): the same
// requests in the same order must get the same answers from the store.

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "store/replica.h"

namespace conclave::store {
namespace {

class EtcdTranscript : public testing::TestWithParam<const char*> {};

TEST_P(EtcdTranscript, GetsEtcdsAnswers) {
  std::ifstream file(GetParam());
  ASSERT_TRUE(file.is_open());
  Replica replica;
  std::string request;
  std::string answer;
  int count = 0;
  while (std::getline(file, request) && std::getline(file, answer)) {
    ASSERT_EQ("-> " + replica.run(request), answer) << "request " << ++count << ": " << request;
    if (replica.call % 7 == 0) replica.store.reclaim(3);
  }
  EXPECT_GE(replica.store.revision(), 100);
}

INSTANTIATE_TEST_SUITE_P(Recorded, EtcdTranscript,
                         testing::Values("testdata/etcd-1.txt", "testdata/etcd-2.txt"));

}  // namespace
}  // namespace conclave::store
