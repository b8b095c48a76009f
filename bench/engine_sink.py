"""Objects a second into a sink that discards them: our acceptor beside pynetdicom's, dcmtk's storescu or our requestor sending.

It measures the engine and the sender alone: nothing is decided, sealed or stored. Run: `python bench/engine_sink.py [--seconds 10]`.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from leadglass.dicom.contexts import Context, Offer, negotiate, propose
from leadglass.dicom.dimse import StoreRequest, StoreResponse
from leadglass.dicom.pdu import AssociateRequest
from leadglass.dicom.sopclasses import TRANSFER_SYNTAXES
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.net.acceptor import Accept, PeerInfo, ServerAssociation, serve
from leadglass.net.requestor import connect, tcp

SIZES = {"8 kB": 8_000, "525 kB": 525_000}
PYNETDICOM_SINK = """
import socket, sys
from pynetdicom import AE, StoragePresentationContexts, evt
import pynetdicom.transport
ae = AE(); ae.supported_contexts = StoragePresentationContexts; ae.maximum_pdu_size = 0
server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[
    (evt.EVT_C_STORE, lambda event: 0),
    (evt.EVT_CONN_OPEN, lambda event: event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1))])
print(server.server_address[1], flush=True); sys.stdin.read()
"""


def make_object(pixels: int) -> FileDataset:
    """A CT image whose pixel data has about this many bytes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.PatientName, dataset.Modality = "BENCH", "Bench^Mark", "CT"
    dataset.Rows, dataset.Columns = pixels // 500, 250
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = os.urandom(pixels // 500 * 500)
    return dataset


async def sink(association: ServerAssociation) -> None:
    """Take every object and forget it."""
    async for message in association:
        if not isinstance(message.command, StoreRequest) or message.data is None:
            await association.refuse(message, Status.UNRECOGNIZED_OPERATION)
            continue
        if message.data.take() is None:
            async for _ in message.data:
                pass
        request = message.command
        await association.respond(message, StoreResponse(request.message_id, Status.SUCCESS, request.sop_class, request.sop_instance))


def decide(request: AssociateRequest, _: PeerInfo) -> Accept:
    """Accept everybody for everything: this is a bench, on loopback."""
    return Accept(negotiate(request, lambda _: Offer(TRANSFER_SYNTAXES)), sink)


async def storescu(port: int, folder: Path, files: int, seconds: float) -> float:
    """Objects a second that dcmtk sends, over as many runs as take `seconds`."""
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        command = ("storescu", "-xe", "+sd", "+r", "-pdu", "131072", "127.0.0.1", str(port), str(folder))
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ, "TCP_NODELAY": "1"})
        if await process.wait():
            raise SystemExit("storescu failed")
        count += files
    return count / (time.perf_counter() - started)


async def own_sender(port: int, data: bytes, seconds: float) -> float:
    """Objects a second that our requestor sends, from this same process."""
    request = propose("BENCH", "LEADGLASS", [(CTImageStorage, [ExplicitVRLittleEndian])])
    async with connect(tcp("127.0.0.1", port), request) as association:
        context: Context = association.context(CTImageStorage)
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            await association.store(context, Uid("1.2.3"), data)
            count += 1
        return count / (time.perf_counter() - started)


async def measure(pynetdicom_port: int, seconds: float) -> list[tuple[str, str, float]]:
    """Rows of sink, sender and size, objects a second."""
    rows: list[tuple[str, str, float]] = []
    async with await serve("127.0.0.1", 0, decide) as acceptor:
        own_port = acceptor.address[1]
        for label, size in SIZES.items():
            files = 2000 if size < 100_000 else 400
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                for number in range(files):
                    make_object(size).save_as(folder / f"{number}.dcm", enforce_file_format=True)
                if shutil.which("storescu"):
                    rows.append(("leadglass", f"storescu {label}", await storescu(own_port, folder, files, seconds)))
                    rows.append(("pynetdicom", f"storescu {label}", await storescu(pynetdicom_port, folder, files, seconds)))
            rows.append(("leadglass", f"leadglass {label}", await own_sender(own_port, bytes(size), seconds)))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line for each pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    seconds = parser.parse_args(arguments).seconds
    print(f"pydicom {pydicom.__version__}, Python {sys.version.split()[0]}, {seconds:g} s each")
    with subprocess.Popen([sys.executable, "-c", PYNETDICOM_SINK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as pynetdicom:
        if pynetdicom.stdout is None:
            raise SystemExit("pynetdicom did not start")
        for receiver, sender, rate in asyncio.run(measure(int(pynetdicom.stdout.readline()), seconds)):
            print(f"{receiver:12} from {sender:20} {rate:8.0f} objects/s")
        pynetdicom.terminate()


if __name__ == "__main__":
    main()
