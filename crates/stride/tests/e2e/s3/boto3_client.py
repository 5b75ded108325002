"""What boto3 does against a node. Run by the end-to-end tests with the endpoint and the keys in the environment."""

import io
import os
import sys
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

MIB = 1 << 20
ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
CONFIG = Config(signature_version="s3v4", retries={"max_attempts": 1, "mode": "standard"})
s3 = boto3.client("s3", config=CONFIG)


def client(access_key, secret_key):
    return boto3.client("s3", aws_access_key_id=access_key, aws_secret_access_key=secret_key, config=CONFIG)


def refused(code, status, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert found == (code, status), f"{found} instead of {(code, status)}: {error}"
        return
    raise AssertionError(f"{arguments} was not refused")


def read(key, bucket="boto", **arguments):
    return s3.get_object(Bucket=bucket, Key=key, **arguments)["Body"].read()


def keys(**arguments):
    page = s3.list_objects_v2(Bucket="boto", **arguments)
    contents = [found["Key"] for found in page.get("Contents", [])]
    return contents, [found["Prefix"] for found in page.get("CommonPrefixes", [])]


def who_may():
    s3.put_object(Bucket="boto", Key="mine", Body=b"secret")
    for bad, code in [
        (client("me", "another secret"), "SignatureDoesNotMatch"),
        (client("nobody", "secret-of-the-default-tenant"), "InvalidAccessKeyId"),
        (boto3.client("s3", config=CONFIG.merge(Config(signature_version=UNSIGNED))), "AccessDenied"),
    ]:
        refused(code, 403, bad.get_object, Bucket="boto", Key="mine")
        refused(code, 403, bad.put_object, Bucket="boto", Key="mine", Body=b"x")
        refused(code, 403, bad.list_objects_v2, Bucket="boto")
    other = client("someone-else", "secret-of-the-other-tenant")
    refused("NoSuchBucket", 404, other.get_object, Bucket="boto", Key="mine")
    assert other.list_buckets().get("Buckets", []) == []
    assert read("mine") == b"secret"
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "boto", "Key": "mine"})
    assert urllib.request.urlopen(url).read() == b"secret"


def objects():
    s3.put_object(
        Bucket="boto", Key="dir/ü 1+&.txt", Body=b"0123456789", ContentType="text/plain",
        CacheControl="no-cache", ContentEncoding="identity", Metadata={"colour": "red"},
    )
    head = s3.head_object(Bucket="boto", Key="dir/ü 1+&.txt")
    assert (head["ContentLength"], head["ContentType"], head["CacheControl"]) == (10, "text/plain", "no-cache"), head
    assert (head["Metadata"], head["ContentEncoding"]) == ({"colour": "red"}, "identity"), head
    assert read("dir/ü 1+&.txt", Range="bytes=2-4") == b"234"
    assert read("dir/ü 1+&.txt", Range="bytes=-3") == b"789"
    part = s3.get_object(Bucket="boto", Key="dir/ü 1+&.txt", Range="bytes=8-")
    assert (part["ContentRange"], part["ResponseMetadata"]["HTTPStatusCode"]) == ("bytes 8-9/10", 206)
    refused("InvalidRange", 416, s3.get_object, Bucket="boto", Key="dir/ü 1+&.txt", Range="bytes=10-")
    refused("NoSuchKey", 404, s3.get_object, Bucket="boto", Key="nothing")
    refused("404", 404, s3.head_object, Bucket="boto", Key="nothing")
    for bad in ["a/../b", "/a", "a//b", "a\n", "dir/"]:
        refused("InvalidArgument", 400, s3.put_object, Bucket="boto", Key=bad, Body=b"x")
        refused("NoSuchKey", 404, s3.get_object, Bucket="boto", Key=bad)
    refused("KeyTooLongError", 400, s3.put_object, Bucket="boto", Key="k" * (10 << 10), Body=b"x")
    # What clients mean by it is a directory, which is there as soon as something is in it.
    s3.put_object(Bucket="boto", Key="nothing/", Body=b"")
    refused("InvalidArgument", 400, s3.put_object, Bucket="boto", Key="nothing/../", Body=b"")
    assert keys(Prefix="nothing") == ([], [])
    refused("NoSuchKey", 404, s3.get_object, Bucket="boto", Key="nothing/")

    etag = head["ETag"]
    refused("304", 304, s3.get_object, Bucket="boto", Key="dir/ü 1+&.txt", IfNoneMatch=etag)
    refused("PreconditionFailed", 412, s3.get_object, Bucket="boto", Key="dir/ü 1+&.txt", IfMatch='"other"')
    refused("PreconditionFailed", 412, s3.put_object, Bucket="boto", Key="dir/ü 1+&.txt", Body=b"", IfNoneMatch="*")
    s3.put_object(Bucket="boto", Key="dir/ü 1+&.txt", Body=b"0123456789", IfMatch=etag)

    s3.copy_object(Bucket="boto", Key="copy", CopySource={"Bucket": "boto", "Key": "dir/ü 1+&.txt"})
    assert read("copy") == b"0123456789"
    refused("NoSuchKey", 404, s3.copy_object, Bucket="boto", Key="x", CopySource={"Bucket": "boto", "Key": "no"})

    refused("BadDigest", 400, s3.put_object, Bucket="boto", Key="bad", Body=b"abc", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==")
    refused("BadDigest", 400, s3.put_object, Bucket="boto", Key="bad", Body=b"abc", ChecksumCRC32="AAAAAA==")
    refused("NoSuchKey", 404, s3.get_object, Bucket="boto", Key="bad")
    for algorithm in ["CRC32", "SHA1", "SHA256"]:
        s3.put_object(Bucket="boto", Key="sum", Body=b"abc", ChecksumAlgorithm=algorithm)
    refused("NotImplemented", 501, s3.put_object, Bucket="boto", Key="sse", Body=b"", ServerSideEncryption="AES256")
    refused("NotImplemented", 501, s3.put_object, Bucket="boto", Key="tag", Body=b"", Tagging="a=b")


def listings():
    for key in ["l/a", "l/b/1", "l/b/2", "l/c/1", "l/d"]:
        s3.put_object(Bucket="boto", Key=key, Body=b"")
    assert keys(Prefix="l/") == (["l/a", "l/b/1", "l/b/2", "l/c/1", "l/d"], [])
    assert keys(Prefix="l/", Delimiter="/") == (["l/a", "l/d"], ["l/b/", "l/c/"])
    assert keys(Prefix="l/", StartAfter="l/b/1") == (["l/b/2", "l/c/1", "l/d"], [])
    for operation in ["list_objects_v2", "list_objects"]:
        pages = s3.get_paginator(operation).paginate(
            Bucket="boto", Prefix="l/", Delimiter="/", PaginationConfig={"PageSize": 1}
        )
        found = [
            one.get("Key") or one["Prefix"]
            for page in pages
            for one in page.get("Contents", []) + page.get("CommonPrefixes", [])
        ]
        assert found == ["l/a", "l/b/", "l/c/", "l/d"], found
    gone = s3.delete_objects(
        Bucket="boto", Delete={"Objects": [{"Key": key} for key in ["l/a", "l/b/1", "l/b/2", "l/never"]]}
    )
    assert len(gone["Deleted"]) == 4 and "Errors" not in gone, gone
    assert keys(Prefix="l/") == (["l/c/1", "l/d"], [])
    s3.delete_object(Bucket="boto", Key="l/never")


def parts():
    # 5 MiB and a bit: they end within chunks, so that the node cuts them anew.
    body = os.urandom(3 * (5 * MIB + 1000) + 17)
    transfer = TransferConfig(multipart_threshold=MIB, multipart_chunksize=5 * MIB + 1000)
    s3.upload_fileobj(io.BytesIO(body), "boto", "parts", Config=transfer, ExtraArgs={"Metadata": {"in": "parts"}})
    assert read("parts") == body
    assert s3.head_object(Bucket="boto", Key="parts")["Metadata"] == {"in": "parts"}
    assert read("parts", Range="bytes=5243870-5243890") == body[5243870:5243891]

    upload = s3.create_multipart_upload(Bucket="boto", Key="given-up")["UploadId"]
    named = dict(Bucket="boto", Key="given-up", UploadId=upload)
    first = s3.upload_part(**named, PartNumber=1, Body=b"1" * (8 * MIB))
    second = s3.upload_part(**named, PartNumber=2, Body=b"2")
    assert [part["Size"] for part in s3.list_parts(**named)["Parts"]] == [8 * MIB, 1]
    assert [found["UploadId"] for found in s3.list_multipart_uploads(Bucket="boto")["Uploads"]] == [upload]
    refused("BucketNotEmpty", 409, s3.delete_bucket, Bucket="boto")
    in_order = [{"PartNumber": 1, "ETag": first["ETag"]}, {"PartNumber": 2, "ETag": second["ETag"]}]
    wrong = [in_order[0], {"PartNumber": 2, "ETag": first["ETag"]}]
    for bad, code in [(in_order[::-1], "InvalidPartOrder"), (wrong, "InvalidPart")]:
        refused(code, 400, s3.complete_multipart_upload, **named, MultipartUpload={"Parts": bad})
    refused("NoSuchKey", 404, s3.get_object, Bucket="boto", Key="given-up")
    s3.abort_multipart_upload(**named)
    refused("NoSuchUpload", 404, s3.upload_part, **named, PartNumber=3, Body=b"3")
    refused("NoSuchUpload", 404, s3.complete_multipart_upload, **named, MultipartUpload={"Parts": in_order})
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="boto")


def everything():
    s3.create_bucket(Bucket="boto")
    refused("BucketAlreadyOwnedByYou", 409, s3.create_bucket, Bucket="boto")
    s3.head_bucket(Bucket="boto")
    refused("404", 404, s3.head_bucket, Bucket="nothing")
    refused("NoSuchBucket", 404, s3.list_objects_v2, Bucket="nothing")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["boto"]
    who_may()
    objects()
    listings()
    parts()


def begin():
    upload = s3.create_multipart_upload(Bucket="boto", Key="durable", ContentType="text/plain")["UploadId"]
    for number in [1, 2]:
        s3.upload_part(
            Bucket="boto", Key="durable", UploadId=upload, PartNumber=number, Body=bytes([number]) * (8 * MIB)
        )
    print(upload)


def finish(upload):
    named = dict(Bucket="boto", Key="durable", UploadId=upload)
    s3.upload_part(**named, PartNumber=3, Body=b"end")
    found = s3.list_parts(**named)["Parts"]
    done = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in found]
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": done})
    assert read("durable") == bytes([1]) * (8 * MIB) + bytes([2]) * (8 * MIB) + b"end"
    assert s3.head_object(Bucket="boto", Key="durable")["ContentType"] == "text/plain"


globals()[sys.argv[1]](*sys.argv[2:])
