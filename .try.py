import json
from greenmine.ingest.decode_senml import decode_senml
from greenmine.core.errors import DecodeRefused
AT=1_795_334_400*10**9
for line in open('/work/shared/bad_inputs.jsonl'):
    c=json.loads(line)
    if not c['id'].startswith('senml'): continue
    raw=c['input']
    cut=raw
    try:
        doc,end=json.JSONDecoder().raw_decode(raw.replace('1e999','1e999'))
        cut=raw[:end]
    except Exception: cut=None
    if cut is None: 
        print(c['id'],'SKIP',raw,c['expect']);continue
    try:
        d=decode_senml(cut.encode(),AT); got=([i for i in d.items],[r.word for r in d.refused],d.unreadable,d.notes)
    except DecodeRefused as e: got=e.word
    print(c['id'],c['expect'],'->',got)
B4='''[{"bn":"urn:dev:mac:0024befffe804ff1:","bt":1776067200,"bu":"%RH","n":"soil20","v":21.4},
     {"n":"soilT","u":"Cel","v":12.8,"t":-5},{"n":"bat","u":"V","v":3.61},{"n":"door","vb":false}]'''
print(decode_senml(B4.encode(),AT))
for raw in (b'[{"bn":"'+b'a'*500000+b'","n":"'+b'b'*600000+b'","v":1}]', b'['+b','.join([b'{"n":"t","v":1}']*100000)+b']', bytes([0x82,0xa3,0x21,0x63])):
    try: print(decode_senml(raw,AT))
    except DecodeRefused as e: print(e.word)
