#include "node/frame.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace conclave::node {
namespace {

TEST(FrameTest, ComesBackWhereverTheStreamIsCut) {
  const Bytes stream = encode_frame(FrameType::kForward, "hello") + encode_engine_frame(9, "raft") +
                       encode_frame(FrameType::kReport, "");
  for (std::size_t cut = 1; cut < stream.size(); ++cut) {
    FrameReader reader;
    std::string seen;
    for (const BytesView part : {BytesView(stream).substr(0, cut), BytesView(stream).substr(cut)}) {
      reader.feed(part);
      for (;;) {
        const auto frame = reader.next();
        ASSERT_TRUE(frame.has_value());
        if (!*frame) break;
        seen += std::to_string(static_cast<int>((*frame)->type)) + ":" +
                std::to_string((*frame)->payload.size()) + " ";
      }
    }
    EXPECT_EQ(seen, "4:5 3:12 6:0 ") << "cut at " << cut;
  }
}

TEST(FrameTest, AnyChangedByteIsNoticed) {
  const Bytes good = encode_frame(FrameType::kForward, "payload");
  for (std::size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x40);
    FrameReader reader;
    reader.feed(bad);
    const auto frame = reader.next();
    // A longer length waits for bytes that never come; everything else is an error.
    EXPECT_FALSE(frame.has_value() && frame->has_value()) << "byte " << i;
  }
}

TEST(FrameTest, AnAbsurdLengthIsRefusedAtOnce) {
  Bytes frame = encode_frame(FrameType::kForward, "x");
  frame[3] = 0x7f;
  FrameReader reader;
  reader.feed(frame);
  EXPECT_FALSE(reader.next().has_value());
}

// A stranger may not make us hold more than a Hello.
TEST(FrameTest, ASmallLimitHoldsUntilMoreIsAllowed) {
  const Bytes large = encode_frame(FrameType::kForward, Bytes(1'000, 'x'));
  FrameReader strict(100);
  strict.feed(BytesView(large).substr(0, 16));
  EXPECT_FALSE(strict.next().has_value());
  FrameReader reader(100);
  reader.feed(encode_frame(FrameType::kHello, "hello") + large);
  ASSERT_TRUE(reader.next().has_value());
  reader.allow(2'000);
  const auto frame = reader.next();
  ASSERT_TRUE(frame.has_value() && frame->has_value());
  EXPECT_EQ((*frame)->payload.size(), 1'000u);
}

}  // namespace
}  // namespace conclave::node
