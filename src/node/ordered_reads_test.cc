#include "node/ordered_reads.h"

#include <gtest/gtest.h>

namespace conclave::node {
namespace {

class OrderedReadsTest : public testing::Test {
 protected:
  // Whether it may be answered, and then it is.
  bool come(std::uint64_t connection, api::CallId call) {
    Reads::Read read{.client = {connection, call}, .request = {}, .deadline = {}};
    const bool is_next = reads_.is_next(read);
    if (is_next) reads_.done({connection, call});
    return is_next;
  }
  // Those that came early and are answered now.
  std::string go_on(std::uint64_t connection) {
    std::string calls;
    for (const Reads::Read& read : reads_.take_early(connection)) {
      calls += std::to_string(read.client.call) + " ";
      EXPECT_TRUE(come(connection, read.client.call));
    }
    return calls;
  }

  OrderedReads reads_;
};

TEST_F(OrderedReadsTest, WaitForThoseBeforeThem) {
  for (const api::CallId call : {5u, 3u, 9u}) reads_.add({1, call});
  reads_.add({2, 4});
  EXPECT_FALSE(come(1, 9));
  EXPECT_FALSE(come(1, 3));
  EXPECT_TRUE(come(2, 4)) << "another connection's";
  EXPECT_EQ(go_on(1), "");
  EXPECT_TRUE(come(1, 5));
  EXPECT_EQ(go_on(1), "3 9 ");
  EXPECT_EQ(go_on(1), "");
}

TEST_F(OrderedReadsTest, DoNotWaitForThoseThatWillNotCome) {
  for (const api::CallId call : {1u, 2u, 3u}) reads_.add({1, call});
  EXPECT_FALSE(come(1, 3));
  reads_.done({1, 2});
  EXPECT_TRUE(come(1, 1));
  EXPECT_EQ(go_on(1), "3 ");
}

TEST_F(OrderedReadsTest, GoWithTheirConnection) {
  reads_.add({1, 1});
  reads_.add({1, 2});
  EXPECT_FALSE(come(1, 2));
  reads_.forget(1);
  EXPECT_EQ(go_on(1), "");
  EXPECT_TRUE(come(1, 7)) << "nobody waits for an order";
}

}  // namespace
}  // namespace conclave::node
