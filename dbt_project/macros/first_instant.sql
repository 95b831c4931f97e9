{# The first instant of a local day, as a UTC datetime.
   A midnight that happens twice (America/Havana) counts the first time. One that is skipped
   (Africa/Cairo) is replaced by the moment of the skip: midnight by the clock before it. #}
{% macro first_instant(day, zone) -%}
    {%- set utc = modules.pytz.utc -%}
    {%- set midnight = modules.datetime.datetime(day.year, day.month, day.day) -%}
    {%- set readings = [
        zone.localize(midnight, is_dst=true).astimezone(utc),
        zone.localize(midnight, is_dst=false).astimezone(utc),
    ] -%}
    {%- set earliest = readings | min -%}
    {%- if earliest.astimezone(zone).replace(tzinfo=none) == midnight -%}
        {%- do return(earliest) -%}
    {%- endif -%}
    {%- do return(readings | max) -%}
{%- endmacro %}
