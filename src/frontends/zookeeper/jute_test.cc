#include "frontends/zookeeper/jute.h"

#include <gtest/gtest.h>

#include <limits>

namespace conclave::zookeeper {
namespace {

using namespace std::string_literals;

TEST(Jute, NumbersAreBigEndian) {
  Bytes out;
  Writer writer(out);
  writer.int32(-2);
  writer.int64(0x0102030405060708);
  writer.boolean(true);
  EXPECT_EQ(out, "\xff\xff\xff\xfe\x01\x02\x03\x04\x05\x06\x07\x08\x01"s);
  Reader reader(out);
  EXPECT_EQ(reader.int32(), -2);
  EXPECT_EQ(reader.int64(), 0x0102030405060708);
  EXPECT_TRUE(reader.boolean());
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.left(), 0);
}

TEST(Jute, AllNumbersComeBack) {
  for (const std::int64_t number :
       {std::int64_t{0}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::min(),
        std::numeric_limits<std::int64_t>::max()}) {
    Bytes out;
    Writer(out).int64(number);
    Writer(out).int32(static_cast<std::int32_t>(number));
    Reader reader(out);
    EXPECT_EQ(reader.int64(), number);
    EXPECT_EQ(reader.int32(), static_cast<std::int32_t>(number));
  }
}

TEST(Jute, ABufferIsItsLengthAndItsBytes) {
  Bytes out;
  Writer writer(out);
  writer.buffer("ab");
  writer.null();
  writer.buffer("");
  EXPECT_EQ(out, "\0\0\0\2ab\xff\xff\xff\xff\0\0\0\0"s);
  Reader reader(out);
  EXPECT_EQ(reader.buffer(), "ab");
  EXPECT_EQ(reader.buffer(), "");
  EXPECT_EQ(reader.string(), "");
  EXPECT_TRUE(reader.ok());
}

TEST(Jute, ANullIsNoString) {
  const Bytes bytes = "\xff\xff\xff\xff"s;
  Reader reader(bytes);
  EXPECT_EQ(reader.string(), "");
  EXPECT_FALSE(reader.ok());
}

TEST(Jute, WhatEndsTooEarlyCannotBeReadAndNeitherWhatFollows) {
  const Bytes bytes = "\0\0\0\3ab"s;
  Reader reader(bytes);
  EXPECT_EQ(reader.buffer(), "");
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.int32(), 0);
  EXPECT_FALSE(reader.boolean());
  EXPECT_FALSE(reader.ok());
}

TEST(Jute, ALengthBelowNullCannotBeRead) {
  for (const Bytes& bytes : {"\xff\xff\xff\xfe"s + "ab", "\x80\0\0\0"s + "ab"}) {
    Reader of_buffer(bytes);
    EXPECT_EQ(of_buffer.buffer(), "");
    EXPECT_FALSE(of_buffer.ok());
    Reader of_count(bytes);
    EXPECT_EQ(of_count.count(1), 0);
    EXPECT_FALSE(of_count.ok());
  }
}

TEST(Jute, NoMoreElementsThanThereAreBytesFor) {
  const Bytes bytes = "\0\0\0\2abcdefgh"s;
  EXPECT_EQ(Reader(bytes).count(4), 2);
  Reader reader(bytes);
  EXPECT_EQ(reader.count(5), 0);
  EXPECT_FALSE(reader.ok());
  const Bytes null_bytes = "\xff\xff\xff\xff"s;
  Reader null(null_bytes);
  EXPECT_EQ(null.count(4), 0);
  EXPECT_TRUE(null.ok());
}

}  // namespace
}  // namespace conclave::zookeeper
